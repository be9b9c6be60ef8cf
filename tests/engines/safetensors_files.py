"""Headers of safetensors files, with nothing behind them."""

import json
import struct
from collections.abc import Mapping
from math import prod

BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I32": 4}


def header(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """By name: type and shape."""
    about: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (kind, shape) in tensors.items():
        size = BYTES[kind] * prod(shape)
        about[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    data = json.dumps(about).encode()
    return struct.pack("<Q", len(data)) + data


def llama(
    *, layers: int = 2, width: int = 64, inner: int = 128, vocab: int = 256
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The tensors of a small llama."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        "model.embed_tokens.weight": ("BF16", (vocab, width)),
        "model.norm.weight": ("BF16", (width,)),
        "lm_head.weight": ("BF16", (vocab, width)),
    }
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for name, shape in (
            ("self_attn.q_proj", (width, width)),
            ("self_attn.k_proj", (width // 4, width)),
            ("self_attn.v_proj", (width // 4, width)),
            ("self_attn.o_proj", (width, width)),
            ("mlp.gate_proj", (inner, width)),
            ("mlp.up_proj", (inner, width)),
            ("mlp.down_proj", (width, inner)),
            ("input_layernorm", (width,)),
        ):
            found[f"{at}{name}.weight"] = ("BF16", shape)
    return found


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "vocab_size": 256,
    "torch_dtype": "bfloat16",
    "sliding_window": None,
}
"""The config.json of that llama."""
