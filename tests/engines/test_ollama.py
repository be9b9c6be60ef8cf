"""Golden: how Ollama is started, and what its names and manifests mean."""

import json
from dataclasses import replace

import pytest

from reconciler import engines
from reconciler.engines import registry
from reconciler.model.kinds import Node
from reconciler.model.observation import Gpu
from reconciler.model.plan import Launch, Request, Size, Strikes
from tests.ollama_model import Tag
from tests.plan.world import GIB, HOST, fleet, gpu

BLOB = "/cache/ollama/blobs/sha256-" + "ab" * 32
MODEL = "kind: Model\nname: chat\nsource: ollama:qwen3:4b\n"


def launched(text: str, *gpus: Gpu, programs: dict[str, str] | None = None) -> Launch | engines.Refusal:
    (workload,) = fleet(text).workloads.values()
    return engines.launch(
        workload,
        slot="chat/0",
        run=1,
        gpus=gpus,
        size=Size(gpus=len(gpus), memory=6 * GIB if gpus else None, weights=4 * GIB),
        port=9000,
        strikes=Strikes(),
        host=HOST if programs is None else replace(HOST, programs=programs),
        node=Node(name="local"),
        weights=BLOB,
    )


def launch(text: str, *gpus: Gpu) -> Launch:
    made = launched(text, *gpus)
    assert isinstance(made, Launch), made
    return made


def ours(made: Launch) -> list[str]:
    """Its own variables."""
    return sorted(f"{name}={value}" for name, value in made.env.items())


def test_it_serves_one_model_from_a_store_of_its_own() -> None:
    made = launch(MODEL, gpu(1))
    manifest = "/cache/ollama/manifests/registry.ollama.ai/library/qwen3/4b"
    assert " ".join(made.argv) == (
        f"/usr/bin/python3 -m reconciler.act.ollama_server {manifest} chat /usr/bin/ollama serve"
    )
    assert made.files == (BLOB, manifest)
    assert ours(made) == [
        "CUDA_DEVICE_ORDER=PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES=GPU-1",
        "GGML_VK_VISIBLE_DEVICES=-1",
        "OLLAMA_CONTEXT_LENGTH=4096",
        "OLLAMA_HOST=127.0.0.1:9000",
        "OLLAMA_KEEP_ALIVE=-1",
        "OLLAMA_MAX_LOADED_MODELS=1",
        "OLLAMA_NO_CLOUD=1",
        "OLLAMA_NUM_PARALLEL=1",
        "ROCR_VISIBLE_DEVICES=-1",
    ]
    assert made.probe.path == "/api/version"


def test_it_is_told_what_the_file_says_and_spreads_over_the_gpus_it_was_given() -> None:
    said = ours(launch(MODEL + "context: 8192\nparallel: 3\nkv_cache_dtype: q8_0\n", gpu(0), gpu(1)))
    assert {
        "CUDA_VISIBLE_DEVICES=GPU-0,GPU-1",
        "OLLAMA_CONTEXT_LENGTH=8192",
        "OLLAMA_FLASH_ATTENTION=1",
        "OLLAMA_KV_CACHE_TYPE=q8_0",
        "OLLAMA_NUM_PARALLEL=3",
        "OLLAMA_SCHED_SPREAD=1",
    } <= set(said)


def test_without_gpus_it_sees_none_of_any_maker() -> None:
    hidden = {"CUDA_VISIBLE_DEVICES=-1", "ROCR_VISIBLE_DEVICES=-1", "GGML_VK_VISIBLE_DEVICES=-1"}
    assert hidden <= set(ours(launch(MODEL + "gpus: 0\n")))


def test_its_model_is_loaded_within_the_time_of_a_start_and_leaves_nothing_when_it_is_let_go() -> None:
    sleeper = launch(MODEL, gpu(0)).sleeper
    assert sleeper is not None
    assert sleeper.wake == (
        Request(path="/api/embed", body={"model": "chat", "keep_alive": "-1s"}, within=300 + 20 * 6),
    )
    assert sleeper.sleep[0].body == {"model": "chat", "keep_alive": "0s"}
    assert (sleeper.holds, sleeper.host) == (0, 0)
    assert [sleeper.told(said) for said in ({"models": []}, {"models": [{}]}, {"models": None}, {})] == [
        True,
        False,
        None,
        None,
    ]


def test_where_it_is_not_installed_the_other_engine_is_named() -> None:
    refused = launched(MODEL, gpu(0), programs={})
    assert isinstance(refused, engines.Refusal)
    assert refused.detail.startswith("cannot find ollama on PATH; install it, or write engine: llamacpp")


@pytest.mark.parametrize(
    ("source", "stored"),
    [
        ("ollama:qwen3", "registry.ollama.ai/library/qwen3/latest"),
        ("ollama:me/qwen3:4b", "registry.ollama.ai/me/qwen3/4b"),
        ("ollama:hf.co/org/repo:Q4_K_M", "hf.co/org/repo/Q4_K_M"),
        (f"ollama:qwen3:4b@sha256:{'0' * 64}", f"registry.ollama.ai/library/qwen3/sha256-{'0' * 64}"),
        ("ollama:../x", None),
        ("ollama:a/b/c/d", None),
    ],
)
def test_where_a_store_has_a_manifest(source: str, stored: str | None) -> None:
    name = registry.name_of(source)
    assert (name.manifests if name else None) == (
        (f"manifests-v2/{stored}", f"manifests/{stored}") if stored is not None else None
    )


def test_a_manifest_lists_its_model_first_and_nothing_twice() -> None:
    tag = Tag(gguf=b"GGUF", more={"template": b"x", "system": b"x"})
    found = registry.layers(tag.manifest)
    assert found is not None
    assert found[0].kind == "application/vnd.ollama.image.model"
    assert len({layer.digest for layer in found}) == len(found) == 3


@pytest.mark.parametrize("size", [-1, 2**60, 1.5, "1", True])
def test_a_size_that_makes_no_sense_makes_no_manifest(size: object) -> None:
    said = json.loads(Tag(gguf=b"GGUF").manifest)
    said["layers"][0]["size"] = size
    assert registry.layers(json.dumps(said).encode()) is None
