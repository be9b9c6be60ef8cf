"""TGI and Triton: what they are asked, what they are given, and what they take."""

import pytest

from reconciler import engines
from reconciler.engines.dialect import beside
from reconciler.engines.memory import estimate, runtime
from reconciler.model.plan import Launch, Request
from tests.engines.test_launches import launched
from tests.engines.test_memory import hub, model
from tests.plan.world import GIB, fleet, gpu

TGI = "kind: Model\nname: a\nsource: file:/m/a\nengine: tgi\n"
TRITON = "kind: Model\nname: a\nsource: file:/r\nengine: triton\n"


def test_instances_of_tgi_share_no_port_and_no_socket() -> None:
    made = launched(fleet(TGI), gpus=(gpu(0),))
    assert isinstance(made, Launch)
    assert made.env["PROMETHEUS_PORT"] == "29000"
    assert made.env["USAGE_STATS"] == "off"
    found = [beside(port, place) for port in range(1024, 65536) for place in (1, 2)]
    assert min(found) >= 1024
    assert max(found) < 65536
    assert len({beside(port, 1) for port in range(1024, 65536)}) == len(found) // 2
    assert not any(beside(port, place) in range(9000, 10000) for port in range(9000, 10000) for place in (1, 2))


def test_adapters_of_tgi_are_there_from_the_start_and_another_replaces_it() -> None:
    law, sql = (f"{{name: {name}, source: 'file:/m/{name}'}}" for name in ("law", "sql"))
    one, two = (fleet(f"{TGI}adapters: [{text}]") for text in (law, f"{law}, {sql}"))
    made = launched(two, gpus=(gpu(0),))
    assert isinstance(made, Launch)
    assert made.env["LORA_ADAPTERS"] == "law=/m/law,sql=/m/sql"
    assert made.files == ("/m/a", "/m/law", "/m/sql")
    far = fleet(f"{TGI}adapters: [{{name: law, source: 'hf:o/law'}}]")
    made = launched(far, gpus=(gpu(0),), adapters={"hf:o/law": "/c/law"})
    assert isinstance(made, Launch)
    assert made.env["LORA_ADAPTERS"] == "law=/c/law"
    assert engines.required(far.workloads["a"])[-1] == "hf:o/law"
    assert engines.attaching("tgi") is None
    assert one.workloads["a"].fingerprint != two.workloads["a"].fingerprint


def test_tgi_takes_what_vllm_takes_by_its_own_words() -> None:
    vllm, tgi = (estimate(model("context: 8192", engine=engine), hub(), [gpu(0)]) for engine in ("vllm", "tgi"))
    assert tgi.gpus == vllm.gpus
    assert tgi.uncertainty == 0.15
    args = "args: [--max-total-tokens=4096, --cuda-memory-fraction=0.5]"
    said = estimate(model(args, engine="tgi"), hub(), [gpu(0)]).gpus[0]
    assert (said.cache, said.total) == (GIB // 2, 40 * GIB)
    assert runtime(model("", engine="tgi"), 2) == runtime(model("", engine="vllm"), 2) > 0


def test_triton_is_asked_of_its_model_and_not_of_itself() -> None:
    made = launched(fleet(f"{TRITON}gpus: 0\nhealth: {{inference: 5s}}"))
    assert isinstance(made, Launch)
    assert made.files == ("/r", "/r/a")
    assert made.probe.path == "/v2/models/a/ready"
    body = {"text_input": "a", "max_tokens": 1, "stream": False}
    assert made.probe.tiny == Request(path="/v2/models/a/generate", body=body, within=5.0)
    own = launched(fleet(f"{TRITON}gpus: 0\nhealth: {{path: /v2/health/ready}}"))
    assert isinstance(own, Launch)
    assert own.probe.path == "/v2/health/ready"


@pytest.mark.parametrize(
    ("engine", "image", "begins", "address"),
    [
        ("sglang", "lmsysorg/sglang:latest", "sglang serve --model-path /m ", "--host 0.0.0.0 --port 9000"),
        (
            "tgi",
            "ghcr.io/huggingface/text-generation-inference:latest",
            "text-generation-launcher --model-id /m ",
            "--hostname 0.0.0.0 --port 9000",
        ),
        (
            "triton",
            "nvcr.io/nvidia/tritonserver:25.08-vllm-python-py3",
            "tritonserver --model-repository=/m ",
            "--http-address=0.0.0.0 --http-port=9000",
        ),
    ],
)
def test_in_a_container_of_its_makers_nothing_has_to_be_installed(
    engine: str, image: str, begins: str, address: str
) -> None:
    text = f"kind: Model\nname: a\nsource: file:/m\nengine: {engine}\ngpus: 1\nruntime: docker"
    made = launched(fleet(text), gpus=(gpu(0),), programs={})
    assert isinstance(made, Launch)
    command = " ".join(made.argv)
    assert command.startswith(begins)
    assert address in command
    assert made.container is not None
    assert made.container.image == image
    assert "/m" in [mount.source for mount in made.container.mounts]
