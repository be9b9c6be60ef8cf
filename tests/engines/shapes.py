"""Architectures as GGUF files have them: the metadata and the tensors of models of any size."""

from dataclasses import dataclass, field
from functools import cache

from tests.engines.gguf_files import Tensor, Value


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a model is made of."""

    arch: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    inner: int
    vocab: int = 32000
    head: int = 0
    """Length of a key and of a value; width / heads when 0."""
    context: int = 131072
    window: int = 0
    pattern: int = 0
    experts: int = 0
    used: int = 0
    expert_inner: int = 0
    kind: str = "Q4_0"
    tied: bool = False
    ssm: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    """conv, inner, state, dt rank, groups."""
    mla: tuple[int, int] = (0, 0)
    """Rank of the latent, dimensions that are rotated."""
    recurrent: tuple[int, ...] = ()
    """Layers of a hybrid that are recurrent."""
    more: dict[str, Value] = field(default_factory=dict[str, Value])

    @property
    def length(self) -> int:
        """Of a key."""
        return self.head or self.width // self.heads


FACTORS = ("attention.scale", "embedding_scale", "residual_scale", "logit_scale")


@cache
def words(count: int) -> list[str]:
    """A vocabulary of this many different words."""
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    return [*first, *(f"w{number}" for number in range(count - len(first)))]


def metadata(shape: Shape) -> dict[str, Value]:
    """Keys and values."""
    at = shape.arch
    tokens = words(shape.vocab)
    values: dict[str, Value] = {
        "general.architecture": at,
        "general.name": "a model of nothing",
        f"{at}.block_count": shape.layers,
        f"{at}.context_length": shape.context,
        f"{at}.embedding_length": shape.width,
        f"{at}.feed_forward_length": shape.inner,
        f"{at}.vocab_size": shape.vocab,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * len(tokens),
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    }
    if shape.heads:
        kv_heads: Value = shape.kv_heads
        if shape.recurrent:
            kv_heads = [0 if layer in shape.recurrent else shape.kv_heads for layer in range(shape.layers)]
        values |= {f"{at}.attention.head_count": shape.heads, f"{at}.attention.head_count_kv": kv_heads}
        values |= {f"{at}.rope.dimension_count": shape.length, f"{at}.rope.freq_base": 10000.0}
    norm = (
        "layer_norm_epsilon"
        if at in ("gpt2", "falcon", "starcoder2", "command-r", "cohere2")
        else "layer_norm_rms_epsilon"
    )
    values[f"{at}.attention.{norm}"] = 1e-5
    if shape.head:
        values |= {f"{at}.attention.key_length": shape.head, f"{at}.attention.value_length": shape.head}
    if shape.window:
        values[f"{at}.attention.sliding_window"] = shape.window
    if shape.pattern:
        values[f"{at}.attention.sliding_window_pattern"] = shape.pattern
    if shape.experts:
        values |= {f"{at}.expert_count": shape.experts, f"{at}.expert_used_count": shape.used}
        if shape.expert_inner:
            values[f"{at}.expert_feed_forward_length"] = shape.expert_inner
    if any(shape.ssm):
        names = ("conv_kernel", "inner_size", "state_size", "time_step_rank", "group_count")
        values |= {f"{at}.ssm.{name}": number for name, number in zip(names, shape.ssm, strict=True)}
    if any(shape.mla):
        rank, rope = shape.mla
        values |= {
            f"{at}.attention.kv_lora_rank": rank,
            f"{at}.attention.key_length": rank + rope,
            f"{at}.attention.value_length": rank,
            f"{at}.attention.key_length_mla": 128 + rope,
            f"{at}.attention.value_length_mla": 128,
            f"{at}.rope.dimension_count": rope,
            f"{at}.attention.q_lora_rank": 0,
            f"{at}.leading_dense_block_count": 1,
            f"{at}.expert_shared_count": 2,
            f"{at}.expert_weights_scale": 1.0,
        }
    return values | shape.more


def tensors(shape: Shape) -> dict[str, Tensor]:
    """Tensors by name: matrices of the shape's kind, vectors of F32."""
    width, found = shape.width, dict[str, Tensor]()

    def matrix(name: str, *dims: int) -> None:
        found[f"{name}.weight"] = (shape.kind, dims)

    def vector(name: str, *dims: int) -> None:
        found[name] = ("F32", dims)

    matrix("token_embd", width, shape.vocab)
    vector("output_norm.weight", width)
    if shape.arch in ("gpt2", "falcon", "starcoder2"):
        vector("output_norm.bias", width)
    if shape.arch == "gpt2":
        found["position_embd.weight"] = ("F32", (width, shape.context))
    if not shape.tied:
        matrix("output", width, shape.vocab)
    for layer in range(shape.layers):
        at = f"blk.{layer}."
        if shape.arch in ("mamba", "mamba2"):
            (_mamba if shape.arch == "mamba" else _mamba2)(shape, at, matrix, vector)
            continue
        if layer in shape.recurrent:
            (_mamba2 if shape.arch == "granitehybrid" else _mamba)(shape, at, matrix, vector)
        else:
            _attention(shape, at, matrix, vector)
        _forward(shape, at, layer, matrix, vector)
    return found


def _mamba(shape: Shape, at: str, matrix, vector) -> None:
    conv, inner, state, rank, _ = shape.ssm
    vector(at + "attn_norm.weight", shape.width)
    matrix(at + "ssm_in", shape.width, 2 * inner)
    vector(at + "ssm_conv1d.weight", conv, inner)
    vector(at + "ssm_conv1d.bias", inner)
    matrix(at + "ssm_x", inner, rank + 2 * state)
    if shape.arch == "jamba":
        vector(at + "ssm_dt_norm.weight", rank)
        vector(at + "ssm_b_norm.weight", state)
        vector(at + "ssm_c_norm.weight", state)
    matrix(at + "ssm_dt", rank, inner)
    vector(at + "ssm_dt.bias", inner)
    vector(at + "ssm_a", state, inner)
    vector(at + "ssm_d", inner)
    matrix(at + "ssm_out", inner, shape.width)


def _mamba2(shape: Shape, at: str, matrix, vector) -> None:
    conv, inner, state, heads, groups = shape.ssm
    wide = inner + 2 * groups * state
    vector(at + "attn_norm.weight", shape.width)
    matrix(at + "ssm_in", shape.width, inner + wide + heads)
    vector(at + "ssm_conv1d.weight", conv, wide)
    vector(at + "ssm_conv1d.bias", wide)
    vector(at + "ssm_dt.bias", heads)
    vector(at + "ssm_a", 1, heads)
    vector(at + "ssm_d", 1, heads)
    vector(at + "ssm_norm.weight", inner // groups, groups)
    matrix(at + "ssm_out", inner, shape.width)


def _attention(shape: Shape, at: str, matrix, vector) -> None:
    width, length = shape.width, shape.length
    query, keys = shape.heads * length, shape.kv_heads * length
    vector(at + "attn_norm.weight", width)
    match shape.arch:
        case "phi3" | "falcon" | "gpt2":
            matrix(at + "attn_qkv", width, query + 2 * keys)
        case "deepseek2":
            rank, rope = shape.mla
            matrix(at + "attn_q", width, shape.heads * (128 + rope))
            matrix(at + "attn_kv_a_mqa", width, rank + rope)
            vector(at + "attn_kv_a_norm.weight", rank)
            matrix(at + "attn_k_b", 128, rank, shape.heads)
            matrix(at + "attn_v_b", rank, 128, shape.heads)
            query = shape.heads * 128
        case _:
            matrix(at + "attn_q", width, query)
            matrix(at + "attn_k", width, keys)
            matrix(at + "attn_v", width, keys)
    matrix(at + "attn_output", query, width)
    if shape.arch in ("qwen2", "qwen2moe", "starcoder2", "gpt-oss"):
        for name, count in (("q", query), ("k", keys), ("v", keys)):
            vector(at + f"attn_{name}.bias", count)
    if shape.arch in ("qwen3", "qwen3moe", "gemma3"):
        vector(at + "attn_q_norm.weight", length)
        vector(at + "attn_k_norm.weight", length)
    if shape.arch == "olmoe":
        vector(at + "attn_q_norm.weight", query)
        vector(at + "attn_k_norm.weight", keys)
    if shape.arch in ("gemma2", "gemma3", "gpt-oss"):
        vector(at + "post_attention_norm.weight", width)
    if shape.arch in ("gpt2", "falcon", "starcoder2"):
        vector(at + "attn_norm.bias", width)
    if shape.arch in ("gpt2", "starcoder2", "gpt-oss"):
        vector(at + "attn_output.bias", width)
    if shape.arch == "gpt2":
        vector(at + "attn_qkv.bias", 3 * width)
    if shape.arch == "gpt-oss":
        vector(at + "attn_sinks.weight", shape.heads)


def _forward(shape: Shape, at: str, layer: int, matrix, vector) -> None:
    width, inner = shape.width, shape.inner
    if shape.arch not in ("falcon", "gpt-oss", "command-r", "cohere2"):
        vector(at + "ffn_norm.weight", width)
    if shape.arch in ("gemma2", "gemma3"):
        vector(at + "post_ffw_norm.weight", width)
    if shape.experts and not (shape.arch == "deepseek2" and layer == 0):
        inner = shape.expert_inner or inner
        vector(at + "ffn_gate_inp.weight", width, shape.experts)
        for name in ("gate", "up"):
            matrix(at + f"ffn_{name}_exps", width, inner, shape.experts)
        matrix(at + "ffn_down_exps", inner, width, shape.experts)
        if shape.arch == "gpt-oss":
            vector(at + "ffn_gate_inp.bias", shape.experts)
            for name, count in (("gate", inner), ("up", inner), ("down", width)):
                vector(at + f"ffn_{name}_exps.bias", count, shape.experts)
        if shape.arch == "qwen2moe":
            vector(at + "ffn_gate_inp_shexp.weight", width)
            for name in ("gate", "up"):
                matrix(at + f"ffn_{name}_shexp", width, 4 * inner)
            matrix(at + "ffn_down_shexp", 4 * inner, width)
        if shape.arch == "deepseek2":
            for name in ("gate", "up"):
                matrix(at + f"ffn_{name}_shexp", width, 2 * inner)
            matrix(at + "ffn_down_shexp", 2 * inner, width)
        return
    if shape.arch == "phi3":
        matrix(at + "ffn_up", width, 2 * inner)
    else:
        matrix(at + "ffn_up", width, inner)
        if shape.arch not in ("falcon", "gpt2", "starcoder2"):
            matrix(at + "ffn_gate", width, inner)
    matrix(at + "ffn_down", inner, width)
    if shape.arch in ("gpt2", "starcoder2"):
        vector(at + "ffn_norm.bias", width)
        vector(at + "ffn_up.bias", inner)
        vector(at + "ffn_down.bias", width)


SHAPES = {
    "llama 8B": Shape(arch="llama", layers=32, width=4096, heads=32, kv_heads=8, inner=14336, vocab=128256),
    "llama 1B, tied": Shape(
        arch="llama", layers=16, width=2048, heads=32, kv_heads=8, inner=8192, vocab=128256, tied=True
    ),
    "mixtral": Shape(
        arch="llama", layers=8, width=4096, heads=32, kv_heads=8, inner=14336, experts=8, used=2, context=32768
    ),
    "qwen2 7B": Shape(arch="qwen2", layers=28, width=3584, heads=28, kv_heads=4, inner=18944, vocab=152064),
    "qwen3 4B": Shape(
        arch="qwen3", layers=36, width=2560, heads=32, kv_heads=8, head=128, inner=9728, vocab=151936, tied=True
    ),
    "qwen3 30B-A3B": Shape(
        arch="qwen3moe",
        layers=12,
        width=2048,
        heads=32,
        kv_heads=4,
        head=128,
        inner=6144,
        vocab=151936,
        experts=128,
        used=8,
        expert_inner=768,
    ),
    "gemma2 2B": Shape(
        arch="gemma2",
        layers=26,
        width=2304,
        heads=8,
        kv_heads=4,
        head=256,
        inner=9216,
        vocab=256000,
        tied=True,
        window=4096,
        context=8192,
        more={"gemma2.attn_logit_softcapping": 50.0, "gemma2.final_logit_softcapping": 30.0},
    ),
    "gemma3 4B": Shape(
        arch="gemma3",
        layers=34,
        width=2560,
        heads=8,
        kv_heads=4,
        head=256,
        inner=10240,
        vocab=262144,
        tied=True,
        window=1024,
    ),
    "phi3 mini": Shape(
        arch="phi3", layers=32, width=3072, heads=32, kv_heads=32, inner=8192, vocab=32064, window=2047, context=4096
    ),
    "gpt-oss 20B": Shape(
        arch="gpt-oss",
        layers=8,
        width=2880,
        heads=64,
        kv_heads=8,
        head=64,
        inner=2880,
        vocab=201088,
        experts=32,
        used=4,
        expert_inner=2880,
        window=128,
    ),
    "deepseek2 lite": Shape(
        arch="deepseek2",
        layers=9,
        width=2048,
        heads=16,
        kv_heads=1,
        inner=10944,
        vocab=102400,
        experts=64,
        used=6,
        expert_inner=1408,
        mla=(512, 64),
        context=32768,
    ),
    "mamba 1.4B": Shape(
        arch="mamba",
        layers=48,
        width=2048,
        heads=0,
        kv_heads=0,
        inner=0,
        vocab=50280,
        ssm=(4, 4096, 16, 128, 0),
        tied=True,
    ),
    "jamba": Shape(
        arch="jamba",
        layers=8,
        width=2560,
        heads=20,
        kv_heads=4,
        inner=8192,
        vocab=65536,
        ssm=(4, 5120, 16, 160, 0),
        recurrent=(0, 1, 2, 4, 5, 6, 7),
    ),
    "falcon 7B": Shape(
        arch="falcon", layers=32, width=4544, heads=71, kv_heads=1, inner=18176, vocab=65024, context=2048, kind="F16"
    ),
    "gpt2 large": Shape(
        arch="gpt2", layers=36, width=1280, heads=20, kv_heads=20, inner=5120, vocab=50257, context=1024, tied=True
    ),
    "starcoder2 3B": Shape(
        arch="starcoder2",
        layers=30,
        width=3072,
        heads=24,
        kv_heads=2,
        inner=12288,
        vocab=49152,
        context=16384,
        tied=True,
    ),
    "granite 2B": Shape(
        arch="granite",
        layers=40,
        width=2048,
        heads=32,
        kv_heads=8,
        inner=8192,
        vocab=49152,
        tied=True,
        more={f"granite.{name}": 1.0 for name in FACTORS},
    ),
    "internlm2 7B": Shape(arch="internlm2", layers=32, width=4096, heads=32, kv_heads=8, inner=14336, vocab=92544),
    "olmoe 7B": Shape(
        arch="olmoe", layers=16, width=2048, heads=16, kv_heads=16, inner=1024, vocab=50304, experts=64, used=8
    ),
    "qwen2moe 14B": Shape(
        arch="qwen2moe",
        layers=24,
        width=2048,
        heads=16,
        kv_heads=16,
        inner=5632,
        vocab=151936,
        experts=60,
        used=4,
        expert_inner=1408,
        more={"qwen2moe.expert_shared_feed_forward_length": 5632},
    ),
    "command-r": Shape(
        arch="command-r",
        layers=40,
        width=8192,
        heads=64,
        kv_heads=8,
        inner=22528,
        vocab=256000,
        tied=True,
        more={"command-r.logit_scale": 0.0625},
    ),
    "cohere2 7B": Shape(
        arch="cohere2",
        layers=32,
        width=4096,
        heads=32,
        kv_heads=8,
        inner=14336,
        vocab=256000,
        window=4096,
        tied=True,
        more={"cohere2.logit_scale": 0.0625},
    ),
    "mamba2 2.7B": Shape(
        arch="mamba2",
        layers=64,
        width=2560,
        heads=0,
        kv_heads=0,
        inner=0,
        vocab=50288,
        ssm=(4, 5120, 128, 80, 1),
        tied=True,
    ),
    "granitehybrid": Shape(
        arch="granitehybrid",
        layers=8,
        width=2048,
        heads=32,
        kv_heads=8,
        inner=8192,
        vocab=100352,
        ssm=(4, 4096, 128, 64, 1),
        recurrent=(0, 1, 2, 4, 5, 6),
        tied=True,
        more={
            **{f"granitehybrid.{name}": 1.0 for name in FACTORS},
            "granitehybrid.rope.scaling.finetuned": True,
        },
    ),
}
"""By name, each of the size of one that people run, some with fewer layers."""
