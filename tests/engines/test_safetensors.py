"""safetensors headers with config.json: understood, or a problem in words."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.engines import safetensors
from reconciler.model.weights import Unreadable, Weights
from tests.engines.safetensors_files import LLAMA, header, llama

Tensors = dict[str, tuple[str, tuple[int, ...]]]


def weigh(config: dict[str, Any], *files: Tensors, total: int | None = None) -> Weights:
    parts = [part(header(file)) for file in files]
    found = safetensors.weigh(json.dumps(config).encode(), parts, total=total)
    assert isinstance(found, Weights), found
    return found


def part(data: bytes) -> safetensors.Part:
    found = safetensors.read(data)
    assert isinstance(found, safetensors.Part), found
    return found


def why(data: bytes, *, size: int | None = None) -> str:
    found = safetensors.read(data, size=size)
    assert isinstance(found, Unreadable)
    return found.reason


def test_bytes_are_summed_by_layer_embedding_and_output() -> None:
    found = weigh(LLAMA, llama())
    layer = 2 * (2 * 64 * 64 + 2 * 16 * 64 + 3 * 128 * 64 + 64)
    assert [each.weights for each in found.layers] == [layer, layer]
    assert (found.embedding, found.output, found.other) == (2 * 256 * 64, 2 * 256 * 64, 128)
    assert found.total == 2 * layer + 4 * 256 * 64 + 128
    assert (found.dtype, found.context_length, found.vocab, found.gated) == ("BF16", 4096, 256, True)
    assert (found.layers[0].keys, found.layers[0].attention) == (2 * 8, "full")


def test_files_are_one_model_in_any_order() -> None:
    tensors = list(llama().items())
    whole = weigh(LLAMA, llama())
    split = weigh(LLAMA, dict(tensors[7:]), dict(tensors[:7]))
    assert split.layers == whole.layers
    assert (split.total, split.files) == (whole.total, 2)


def test_a_total_alone_is_spread_over_the_layers() -> None:
    found = weigh(LLAMA, total=3_000_000)
    assert found.total == 3_000_000
    assert [layer.weights for layer in found.layers] == [1_000_000, 1_000_000]
    assert found.dtype == "bfloat16"


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "no word of windows": ({}, "full full"),
    "a window for all": ({"sliding_window": 512}, "sliding sliding"),
    "a window that is switched off": ({"sliding_window": 512, "use_sliding_window": False}, "full full"),
    "a window of some later layers, as Qwen2 writes it": (
        {"sliding_window": 512, "use_sliding_window": True, "max_window_layers": 1}, "full full",
    ),
    "layers by name": (
        {"sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"]}, "sliding full",
    ),
    "layers by name, and a window that is switched off": (
        {"sliding_window": 512, "use_sliding_window": False, "layer_types": ["sliding_attention"] * 2}, "full full",
    ),
    "every second layer": ({"sliding_window": 512, "sliding_window_pattern": 2}, "sliding full"),
    "a latent": ({"kv_lora_rank": 512, "qk_rope_head_dim": 64}, "mla mla"),
    "linear attention": ({"layer_types": ["linear_attention", "full_attention"]}, "none full"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_layer_caches_as_its_configuration_says(name: str) -> None:
    more, kinds = CASES[name]
    found = weigh({**LLAMA, **more}, llama())
    assert " ".join(layer.attention for layer in found.layers) == kinds


def test_a_latent_is_as_long_as_its_rank_and_its_rotated_part() -> None:
    found = weigh({**LLAMA, "kv_lora_rank": 512, "qk_rope_head_dim": 64}, llama())
    assert (found.layers[0].keys, found.layers[0].values) == (576, 0)


def test_a_vision_tower_is_beside_the_layers_and_the_text_part_counts() -> None:
    tower: Tensors = {"vision_tower.encoder.layers.0.mlp.weight": ("BF16", (100, 10))}
    found = weigh({"architectures": ["X"], "text_config": LLAMA}, {**llama(), **tower})
    assert found.other == 128 + 2000
    assert len(found.layers) == 2


def test_experts_are_counted_apart() -> None:
    experts: Tensors = {
        f"model.layers.0.mlp.experts.{number}.gate_proj.weight": ("BF16", (32, 64)) for number in range(4)
    }
    config = {**LLAMA, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    found = weigh(config, {**llama(), **experts})
    assert found.layers[0].experts == 4 * 2 * 32 * 64
    assert (found.layers[0].feed_forward, found.layers[1].feed_forward) == (64, 128)


def test_an_index_names_files_beside_it_only() -> None:
    good = {"metadata": {"total_size": 12}, "weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors"}}
    assert safetensors.index(json.dumps(good).encode()) == safetensors.Index(
        files=("m-1.safetensors", "m-2.safetensors"), total=12
    )
    for name in ("../secret", "/etc/passwd", "a/b", ""):
        assert isinstance(safetensors.index(json.dumps({"weight_map": {"a": name}}).encode()), Unreadable)
    assert isinstance(safetensors.index(b"[]"), Unreadable)
    assert isinstance(safetensors.index(b'{"weight_map": 4}'), Unreadable)


def test_hostile_headers_are_a_problem_in_words() -> None:
    assert "longer than 32 MiB" in why(struct.pack("<Q", 2**62))
    assert "ends within its own header" in why(struct.pack("<Q", 100) + b"{}")
    assert "is no JSON" in why(struct.pack("<Q", 3) + b"{{{")
    deep = b"[" * 200_000
    assert "is no JSON" in why(struct.pack("<Q", len(deep)) + deep)
    assert "no JSON object" in why(struct.pack("<Q", 2) + b"[]")
    for about in (
        {},
        {"dtype": "F32"},
        {"dtype": "F32", "data_offsets": [4, 0]},
        {"dtype": 1, "data_offsets": [0, 4]},
        7,
    ):
        data = json.dumps({"t": about}).encode()
        assert "no proper dtype and data_offsets" in why(struct.pack("<Q", len(data)) + data)


def test_a_file_that_was_cut_off_is_told_by_its_size() -> None:
    data = header(llama())
    assert "bytes of tensors are there; fetch it again" in why(data, size=len(data) + 100)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (b"", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"3", "no JSON object"),
        (b'{"num_hidden_layers": 1e300}', "num_hidden_layers of config.json is 1e+300"),
        (b'{"num_hidden_layers": 1000000}', "1000000 layers, more than 4096"),
        (b'{"num_hidden_layers": 2, "hidden_size": "x"}', "hidden_size of config.json is 'x'"),
        (b'{"num_hidden_layers": 2, "head_dim": -8}', "head_dim of config.json is -8"),
        (b'{"num_hidden_layers": NaN}', "num_hidden_layers of config.json is nan"),
    ],
)
def test_a_hostile_configuration_is_a_problem_in_words(config: bytes, said: str) -> None:
    found = safetensors.weigh(config, ())
    assert isinstance(found, Unreadable)
    assert said in found.reason


BASE = header(llama())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6))
def test_any_change_of_any_bytes_is_a_part_or_a_problem(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(BASE)
    for place, new in changes:
        data[place : place + len(new)] = new
    assert isinstance(safetensors.read(bytes(data)), safetensors.Part | Unreadable)


KEYS = [
    *LLAMA,
    "layer_types",
    "kv_lora_rank",
    "text_config",
    "sliding_window_pattern",
    "num_experts_per_tok",
    "head_dim",
]


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4))
def test_any_configuration_is_weights_or_a_problem(changes: dict[str, object]) -> None:
    config = json.dumps({**LLAMA, **changes}).encode()
    found = safetensors.weigh(config, [part(BASE)])
    assert isinstance(found, Weights | Unreadable)
