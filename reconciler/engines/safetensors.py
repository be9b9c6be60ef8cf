"""safetensors headers and config.json: bytes → Parts, Parts and the configuration → Weights. Bounded.

The format: https://github.com/huggingface/safetensors#format.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, cast

from reconciler.engines.source import Cursor, HeaderError, Source
from reconciler.model.weights import Attention, Layer, Unreadable, Weights

HEADER = 32 * 2**20
"""Bytes that a header may have."""
CONFIG = 2**20
"""Bytes that config.json may have."""
INDEX = 32 * 2**20
"""Bytes that model.safetensors.index.json may have."""
_MOST, _LAYERS, _FILES = 2**40, 4096, 4096
_LENGTH = Struct("<Q")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d{1,6})\.")
_ASIDE = re.compile(r"(?:^|\.)(?:vis\w*|audio\w*|image\w*|mm_\w*|multi_modal\w*|mtp\w*)\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in|embeddings?|wpe)\.")
_OUTPUT = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output)\.")
Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Sums of one file: bytes by layer, group and type."""

    layers: Mapping[int, int]
    experts: Mapping[int, int]
    groups: Mapping[str, int]
    kinds: Mapping[str, int]
    gated: bool
    recurrent: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """model.safetensors.index.json."""

    files: tuple[str, ...]
    """Names beside it, sorted."""
    total: int | None
    """Bytes of all tensors as it says; nothing checks that."""


def read(source: Source, *, size: int | None = None) -> Part | Unreadable:
    """The header of one file; `size` of the file in bytes, where it is known, tells one that was cut off."""
    try:
        cursor = Cursor(source, HEADER + 8)
        (length,) = cursor.numbers(_LENGTH)
        if size is not None and 8 + length > size:
            raise HeaderError("cannot be read: it ends within its own header; fetch it again")
        return _part(_object(cursor.take(length), "its header"), None if size is None else size - 8 - length)
    except HeaderError as error:
        return Unreadable(reason=str(error))


def index(data: bytes) -> Index | Unreadable:
    """The list of a model's files."""
    try:
        found = _object(data, "the index")
        names = found.get("weight_map")
        if not isinstance(names, dict):
            raise HeaderError("cannot be read: the index has no weight_map")
        files = sorted({str(name) for name in cast("dict[str, object]", names).values()})
        if len(files) > _FILES or any(re.fullmatch(r"[\w][\w.-]*", name) is None for name in files):
            raise HeaderError("cannot be read: the index names files that are not beside it, or too many")
        about = found.get("metadata")
        total = cast("dict[str, object]", about).get("total_size") if isinstance(about, dict) else None
        plain = isinstance(total, int | float) and 0 < total < _MOST * 2**10
        return Index(files=tuple(files), total=int(cast("float", total)) if plain else None)
    except HeaderError as error:
        return Unreadable(reason=str(error))


def weigh(config: bytes, parts: Sequence[Part], *, total: int | None = None) -> Weights | Unreadable:
    """A model by its config.json and its files; `total` bytes instead where the files were not read."""
    try:
        whole = _object(config, "config.json")
        inner = next((whole[key] for key in ("text_config", "llm_config", "language_config") if key in whole), whole)
        text = cast("Config", inner) if isinstance(inner, dict) else whole
        names = whole.get("architectures")
        first: object = cast("list[object]", names)[0] if isinstance(names, list) and names else ""
        return _weights(str(first or whole.get("model_type", "")), text, whole, parts, total)
    except HeaderError as error:
        return Unreadable(reason=str(error))


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise HeaderError(f"cannot be read: {what} is no JSON") from None
    if not isinstance(found, dict):
        raise HeaderError(f"cannot be read: {what} is no JSON object")
    return cast("dict[str, Any]", found)


def _part(header: Mapping[str, Any], there: int | None) -> Part:
    layers, experts, groups = Counter[int](), Counter[int](), Counter[str]()
    kinds, end = Counter[str](), 0
    gated, recurrent = False, set[int]()
    for name, about in header.items():
        if name == "__metadata__":
            continue
        kind, size, last = _tensor(name, about)
        end = max(end, last)
        kinds[kind] += size
        match = _LAYER.search(name)
        layer = int(match[1]) if match is not None else _LAYERS
        if layer < _LAYERS and _ASIDE.search(name) is None:
            layers[layer] += size
            if ".experts." in name or ".block_sparse_moe.w" in name:
                experts[layer] += size
            gated = gated or "gate" in name or ".w3." in name
            if any(word in name for word in ("conv1d", "A_log", ".ssm", "mamba", "linear_attn")):
                recurrent.add(layer)
        else:
            aside = _ASIDE.search(name) is not None
            groups["other" if aside else _group(name)] += size
    if there is not None and end > there:
        raise HeaderError(f"cannot be used: {there} of its {end} bytes of tensors are there; fetch it again")
    return Part(layers=layers, experts=experts, groups=groups, kinds=kinds, gated=gated, recurrent=frozenset(recurrent))


def _tensor(name: str, about: object) -> tuple[str, int, int]:
    """A tensor's type, bytes, and where it ends."""
    fields = cast("dict[str, object]", about if isinstance(about, dict) else {})
    span, kind = fields.get("data_offsets"), fields.get("dtype")
    ends = cast("list[object]", span) if isinstance(span, list) else []
    begin, end = ends if len(ends) == 2 else (None, None)
    if isinstance(begin, int) and isinstance(end, int) and isinstance(kind, str) and 0 <= begin <= end < _MOST * 2**10:
        return kind[:32], end - begin, end
    raise HeaderError(f"cannot be read: tensor {name[:200]!r} has no proper dtype and data_offsets")


def _group(name: str) -> str:
    if _EMBEDDING.search(name):
        return "embedding"
    return "output" if _OUTPUT.search(name) else "other"


def _number(config: Config, *names: str, default: int = 0) -> int:
    """The first of these keys that is a number; one that is none, or is absurd, is a HeaderError."""
    for name in names:
        value = config.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
            raise HeaderError(f"cannot be read: {name} of config.json is {value!r:.100}, not a number from 0")
        return int(value)
    return default


def _weights(architecture: str, config: Config, whole: Config, parts: Sequence[Part], total: int | None) -> Weights:
    count = _number(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers")
    if count > _LAYERS:
        raise HeaderError(f"cannot be read: config.json says {count} layers, more than {_LAYERS}")
    held, experts, groups, kinds = (Counter[Any]() for _ in range(4))
    for part in parts:
        held.update(part.layers)
        experts.update(part.experts)
        groups.update(part.groups)
        kinds.update(part.kinds)
    beyond = sum(size for layer, size in held.items() if layer >= count)
    summed = held.total() + groups.total()
    even = total // (count + 1) if total is not None and not parts and count else 0
    recurrent = frozenset[int]().union(*(part.recurrent for part in parts))
    hidden = _number(config, "hidden_size", "n_embd", "d_model", "dim")
    dtype = str(config.get("torch_dtype") or config.get("dtype") or whole.get("torch_dtype") or "")[:32]
    return Weights(
        format="safetensors",
        architecture=architecture[:100],
        dtype=max(kinds, key=lambda kind: (kinds[kind], kind), default=dtype),
        total=summed if parts else (total or 0),
        embedding=groups["embedding"],
        output=groups["output"],
        other=groups["other"] + beyond + ((total or 0) - even * count if not parts else 0),
        tied=bool(config.get("tie_word_embeddings", whole.get("tie_word_embeddings", False))),
        layers=tuple(
            _layer(config, index, held[index] or even, experts[index], hidden, recurrent=index in recurrent)
            for index in range(count)
        ),
        context_length=_number(config, "max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"),
        embedding_length=hidden,
        vocab=_number(config, "vocab_size", "padded_vocab_size"),
        window=_number(config, "sliding_window"),
        experts=_number(config, "num_local_experts", "num_experts", "n_routed_experts"),
        experts_used=_number(config, "num_experts_per_tok", "num_experts_per_token"),
        gated=any(part.gated for part in parts) or not parts,
        files=max(1, len(parts)),
    )


def _layer(config: Config, index: int, size: int, experts: int, hidden: int, *, recurrent: bool) -> Layer:
    heads = _number(config, "num_attention_heads", "n_head", "num_heads", "n_heads")
    kv_heads = _number(config, "num_key_value_heads", "num_kv_heads", "n_head_kv", default=heads)
    kv_heads = 1 if config.get("multi_query") is True else kv_heads
    length = _number(config, "head_dim") or (hidden // heads if heads else 0)
    attention = _attention(config, index, recurrent=recurrent)
    latent = _number(config, "kv_lora_rank")
    used = _number(config, "num_experts_per_tok", "num_experts_per_token")
    inner = _number(config, "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", default=4 * hidden)
    expert = _number(config, "moe_intermediate_size", default=inner)
    shared = _number(config, "n_shared_experts") * expert + _number(config, "shared_expert_intermediate_size")
    state, channels = _state(config, hidden) if recurrent else (0, 0)
    return Layer(
        weights=size,
        experts=experts,
        attention=attention,
        heads=heads,
        kv_heads=1 if attention == "mla" else kv_heads,
        key_length=latent + _number(config, "qk_rope_head_dim") if attention == "mla" else length,
        value_length=latent if attention == "mla" else _number(config, "v_head_dim", default=length),
        feed_forward=max(used * expert, shared) if experts else inner,
        inner=channels,
        state=state,
    )


def _attention(config: Config, index: int, *, recurrent: bool) -> Attention:
    listed = config.get("layer_types")
    kinds = cast("list[object]", listed if isinstance(listed, list) else [])
    said = str(kinds[index]) if index < len(kinds) else ""
    if said in ("linear_attention", "mamba", "recurrent", "conv") or (recurrent and not said):
        return "none"
    if _number(config, "kv_lora_rank"):
        return "mla"
    window = _number(config, "sliding_window") and config.get("use_sliding_window") is not False
    if said:
        return "sliding" if window and said in ("sliding_attention", "chunked_attention") else "full"
    period = _number(config, "sliding_window_pattern")
    if window and period:
        return "full" if (index + 1) % period == 0 else "sliding"
    most = config.get("max_window_layers")
    whole = config.get("use_sliding_window") is None and most is None
    return "sliding" if window and whole else "full"


def _state(config: Config, hidden: int) -> tuple[int, int]:
    """Elements that a recurrent layer keeps of each sequence, and its inner width."""
    conv = _number(config, "linear_conv_kernel_dim", "mamba_d_conv", "conv_kernel", "conv_kernel_size", default=4)
    keys = _number(config, "linear_num_key_heads") * _number(config, "linear_key_head_dim")
    heads, length = _number(config, "linear_num_value_heads"), _number(config, "linear_value_head_dim")
    if keys:
        inner = heads * length
        return (conv - 1) * (2 * keys + inner) + heads * length * _number(config, "linear_key_head_dim"), inner
    inner = _number(config, "mamba_d_ssm", "mamba_intermediate", "intermediate_size")
    inner = _number(config, "mamba_expand", "expand") * hidden or inner
    size = _number(config, "mamba_d_state", "ssm_state_size", "state_size", default=16)
    groups = _number(config, "mamba_n_groups", "n_groups")
    return max(conv - 1, 0) * (inner + 2 * groups * size) + inner * size, inner
