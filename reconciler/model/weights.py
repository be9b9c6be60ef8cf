"""What a model's files say of it before it runs: bytes by group, layers, lengths. The same for every format."""

from dataclasses import dataclass
from typing import Literal

Attention = Literal["full", "sliding", "mla", "none"]
"""What a layer caches: every token, the last of a window, one latent for all heads, nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Files that cannot be understood, and why: a person must look at them."""

    reason: str
    kind: Literal["unreadable"] = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer. Lengths are numbers of elements."""

    weights: int = 0
    """Bytes, experts included."""
    experts: int = 0
    """Bytes of its experts, which an engine may leave in host memory."""
    attention: Attention = "none"
    heads: int = 0
    kv_heads: int = 0
    key_length: int = 0
    """Of one head; of the latent and its rotated part for `mla`."""
    value_length: int = 0
    """Of one head."""
    feed_forward: int = 0
    """Inner width that a token passes at once: of all experts used for it, or of the shared ones where that is more."""
    inner: int = 0
    """Inner width of its recurrent part; 0 where it has none."""
    state: int = 0
    """Elements that its recurrent part keeps of each sequence."""

    @property
    def keys(self) -> int:
        """Elements cached of each token as keys; for `mla` all there is."""
        return 0 if self.attention == "none" else self.kv_heads * self.key_length

    @property
    def values(self) -> int:
        """Elements cached of each token as values."""
        return 0 if self.attention in ("none", "mla") else self.kv_heads * self.value_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A model as its headers describe it."""

    format: Literal["gguf", "safetensors"]
    architecture: str
    """`llama`, `Qwen3ForCausalLM`; empty where it is not said."""
    dtype: str
    """Type of most bytes, in the format's word: `Q4_K`, `BF16`."""
    total: int
    """Bytes of all tensors."""
    embedding: int = 0
    """Bytes of what turns tokens into vectors: llama.cpp keeps it in host memory."""
    output: int = 0
    """Bytes of what turns vectors into tokens."""
    other: int = 0
    """Bytes of what is neither of these nor of a layer: a vision tower, say."""
    tied: bool = False
    """Whether the embedding is the output as well: an engine that keeps it on the host then holds it twice."""
    layers: tuple[Layer, ...] = ()
    context_length: int = 0
    """Tokens it was trained for; 0 where it is not said."""
    embedding_length: int = 0
    vocab: int = 0
    window: int = 0
    """Tokens that `sliding` layers see."""
    experts: int = 0
    experts_used: int = 0
    """Experts of each token."""
    gated: bool = True
    """Whether the feed-forward part has a gate beside its way up."""
    files: int = 1

    @property
    def widest(self) -> int:
        """The largest inner width of a feed-forward part."""
        return max((layer.feed_forward for layer in self.layers), default=0)
