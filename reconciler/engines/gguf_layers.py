"""What the keys and tensors of a GGUF mean: which layers cache what, as llama.cpp has it (August 2026). Pure."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.engines.source import HeaderError
from reconciler.model.weights import Attention, Layer, Weights

Scalar = bool | int | float
Value = str | Scalar | tuple[Scalar, ...]

_LAYER = re.compile(r"blk\.(\d{1,6})\.")
_LAYERS, _MOST = 4096, 2**40
_EMBEDDING = ("token_embd", "per_layer_token_embd", "position_embd", "token_types")
_RECURRENT = ("ssm", "shortconv", "time_mix")
_GATES = ("ffn_gate.", "ffn_gate_exps", "ffn_gate_up_exps", "ffn_gate_shexp")
_WINDOWED = {  # architectures whose pattern is in the code of llama.cpp: every n-th layer sees everything
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gemma-embedding": 6,
    "cohere2": 4,
    "gpt-oss": 2,
    "llama4": 4,
    "exaone4": 4,
    "exaone-moe": 4,
    "olmo2": 4,
    "plamo3": 8,
    "afmoe": 4,
    "smallthinker": 4,
}
_FULL_FIRST = frozenset({"smallthinker"})
_WINDOWS = {"llama4": 8192}
"""Windows that are in its code."""
_BOTH = frozenset({"falcon-h1", "hymba"})
"""Architectures whose layers attend and remember."""
_GATED_UP = frozenset({"phi3", "chatglm", "glm4"})
"""Architectures whose way up has the gate in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor."""

    name: str
    kind: str
    shape: tuple[int, ...]
    """The fastest first."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The metadata. A value of another type than its key should have is a HeaderError that names the key."""

    values: Mapping[str, Value]
    lengths: Mapping[str, int]
    """Of lists, those that were not kept too."""

    def text(self, key: str) -> str:
        """A string; empty where it is not there."""
        value = self.values.get(key, "")
        if not isinstance(value, str):
            raise HeaderError(f"cannot be read: {key} is {value!r}, not a text")
        return value

    def number(self, key: str, default: int, *, most: int = _MOST) -> int:
        """A whole number from 0; of a list the largest."""
        value = self.values.get(key, default)
        if isinstance(value, tuple):
            return max((_whole(key, each, most) for each in value), default=default)
        return _whole(key, value, most)

    def each(self, key: str, count: int, default: int) -> tuple[int, ...]:
        """A number for each layer: from a list, or the same for all."""
        value = self.values.get(key, default)
        if not isinstance(value, tuple):
            return (_whole(key, value, _MOST),) * count
        if len(value) < count:
            raise HeaderError(f"cannot be read: {key} has {len(value)} values for {count} layers")
        return tuple(_whole(key, each, _MOST) for each in value[:count])


def _whole(key: str, value: object, most: int) -> int:
    if not isinstance(value, int) or not 0 <= value <= most:
        raise HeaderError(f"cannot be read: {key} is {value!r}, not a number from 0 to {most}")
    return int(value)


def weights(table: Table, tensors: Sequence[Tensor], *, files: int) -> Weights:
    """The model. Raises HeaderError."""
    at = table.text("general.architecture")
    count = table.number(f"{at}.block_count", 0, most=_LAYERS)
    held, experts = [0] * count, [0] * count
    groups: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    names: set[str] = set()
    for tensor in tensors:
        kinds[tensor.kind] += tensor.size
        match = _LAYER.match(tensor.name)
        layer = int(match[1]) if match is not None else count
        if layer < count:
            held[layer] += tensor.size
            if "_exps" in tensor.name:
                experts[layer] += tensor.size
            names.add(tensor.name.partition(".")[2].partition(".")[2])
        else:
            groups[_group(tensor.name)] += tensor.size
    embedding = {tensor.name: tensor for tensor in tensors if tensor.name == "token_embd.weight"}
    vocab = table.lengths.get("tokenizer.ggml.tokens", 0) or table.number(f"{at}.vocab_size", 0)
    shape = next((tensor.shape for tensor in embedding.values()), ())
    return Weights(
        format="gguf",
        architecture=at,
        dtype=max(kinds, key=lambda kind: (kinds[kind], kind), default=""),
        total=sum(tensor.size for tensor in tensors),
        embedding=groups["embedding"],
        output=groups["output"],
        other=groups["other"],
        tied=bool(embedding) and not any(tensor.name == "output.weight" for tensor in tensors),
        layers=_layers(table, at, held, experts, recurrent=any(name.startswith(_RECURRENT) for name in names)),
        context_length=table.number(f"{at}.context_length", 0),
        embedding_length=table.number(f"{at}.embedding_length", shape[0] if shape else 0),
        vocab=min(vocab, _MOST),
        window=table.number(f"{at}.attention.sliding_window", _WINDOWS.get(at, 0)),
        experts=table.number(f"{at}.expert_count", 0),
        experts_used=table.number(f"{at}.expert_used_count", 0),
        gated=any(name.startswith(_GATES) for name in names) or at in _GATED_UP,
        files=files,
    )


def _group(name: str) -> str:
    if name.startswith(_EMBEDDING):
        return "embedding"
    return "output" if name.startswith("output") else "other"


def _layers(table: Table, at: str, held: list[int], experts: list[int], *, recurrent: bool) -> tuple[Layer, ...]:
    count = len(held)
    width = table.number(f"{at}.embedding_length", 0)
    heads = table.each(f"{at}.attention.head_count", count, 0)
    kv_heads = table.each(f"{at}.attention.head_count_kv", count, max(heads, default=0))
    most = max(heads, default=0)
    length = width // most if most else 0
    inner = table.each(f"{at}.feed_forward_length", count, 0)
    used = table.number(f"{at}.expert_used_count", 0, most=2**20)
    expert = table.number(f"{at}.expert_feed_forward_length", 0)
    shared = table.number(f"{at}.expert_shared_feed_forward_length", 0) or (
        table.number(f"{at}.expert_shared_count", 0, most=2**20) * expert
    )
    attention = _attention(table, at, count, kv_heads, recurrent=recurrent)
    state, channels = _state(table, at, width)
    lengths = {
        kind: tuple(
            table.number(f"{at}.attention.{name}_length{kind}", 0)
            or table.number(f"{at}.attention.{name}_length", length)
            for name in ("key", "value")
        )
        for kind in ("", "_swa")
    }
    found: list[Layer] = []
    for index in range(count):
        kind = attention[index]
        key, value = lengths["_swa" if kind == "sliding" else ""]
        remembers = (
            bool(state) and recurrent and (at in _BOTH or _recurs(table, at, index, kv_heads[index], inner[index]))
        )
        found.append(
            Layer(
                weights=held[index],
                experts=experts[index],
                attention=kind,
                heads=heads[index],
                kv_heads=1 if kind == "mla" else kv_heads[index],
                key_length=key,
                value_length=value,
                feed_forward=max(used * (expert or inner[index]), shared) if experts[index] else inner[index],
                inner=channels if remembers else 0,
                state=state if remembers else 0,
            )
        )
    return tuple(found)


def _attention(table: Table, at: str, count: int, kv_heads: Sequence[int], *, recurrent: bool) -> tuple[Attention, ...]:
    mla = bool(
        table.number(f"{at}.attention.key_length_mla", 0) and table.number(f"{at}.attention.value_length_mla", 0)
    )
    sliding = _sliding(table, at, count)
    shared = table.number(f"{at}.attention.shared_kv_layers", 10 if at == "gemma3n" else 0)
    alternates = recurrent and at not in _BOTH
    found: list[Attention] = []
    for index in range(count):
        own = index < count - shared and not (alternates and _recurs(table, at, index, kv_heads[index], 0))
        if not own or not kv_heads[index]:
            found.append("none")
        elif mla:
            found.append("mla")
        else:
            found.append("sliding" if sliding[index] else "full")
    return tuple(found)


def _sliding(table: Table, at: str, count: int) -> tuple[bool, ...]:
    window = table.number(f"{at}.attention.sliding_window", _WINDOWS.get(at, 0))
    said = table.values.get(f"{at}.attention.sliding_window_pattern")
    if not window:
        return (False,) * count
    if isinstance(said, tuple) and len(said) >= count:
        return tuple(bool(each) for each in said[:count])
    period = _WINDOWED.get(at, 0)
    if isinstance(said, int) and not isinstance(said, bool) and at in _WINDOWED:
        period = table.number(f"{at}.attention.sliding_window_pattern", period)
    if not period:
        return (False,) * count
    full = 0 if at in _FULL_FIRST else period - 1
    return tuple(index % period != full for index in range(count))


def _recurs(table: Table, at: str, index: int, kv_heads: int, inner: int) -> bool:
    """Whether a layer of a model with recurrent layers is one of them."""
    interval = table.number(f"{at}.full_attention_interval", 4 if at in ("qwen3next", "qwen35", "qwen35moe") else 0)
    if interval:
        return (index + 1) % interval != 0
    if at.startswith("nemotron_h"):
        return not kv_heads and not inner
    return not kv_heads


def _state(table: Table, at: str, width: int) -> tuple[int, int]:
    """Elements that a recurrent layer keeps of each sequence, and its inner width."""
    conv, inner = table.number(f"{at}.ssm.conv_kernel", 0), table.number(f"{at}.ssm.inner_size", 0)
    size, groups = table.number(f"{at}.ssm.state_size", 0), table.number(f"{at}.ssm.group_count", 0)
    if inner:
        return max(conv - 1, 0) * (inner + 2 * groups * size) + size * inner, inner
    head = table.number(f"{at}.wkv.head_size", 0)
    if head:
        return width * (table.number(f"{at}.token_shift_count", 2) + head), width
    short = table.number(f"{at}.shortconv.l_cache", 0)
    return (width * (short - 1), width) if short > 1 else (0, 0)
