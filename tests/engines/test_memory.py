"""The estimate: what llama.cpp was seen to allocate, how it is dealt out over GPUs, and the rules of other engines."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest

from reconciler.engines import flags, gguf, safetensors
from reconciler.engines.memory import Beside, estimate
from reconciler.engines.vllm_memory import ON_CPU
from reconciler.model.estimate import Estimate
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.observation import Gpu
from reconciler.model.weights import Layer, Unreadable, Weights
from tests.engines import gguf_files, safetensors_files, shapes
from tests.plan.world import GIB, fleet, gpu

MIB = 2**20


@cache
def weights(name: str, **changes: object) -> Weights:
    shape = replace(shapes.SHAPES[name], **changes)  # pyright: ignore[reportArgumentType]
    found = gguf.parse(gguf_files.header(shapes.metadata(shape), shapes.tensors(shape)))
    assert isinstance(found, Weights)
    return found


def model(text: str = "", *, engine: str = "llamacpp") -> Workload:
    source = {"llamacpp": "file:/m/a.gguf", "ollama": "ollama:a"}.get(engine, "hf:org/m")
    of = fleet(f"kind: Model\nname: m\nsource: {source}\nengine: {engine}\n{text}")
    return next(iter(of.workloads.values()))


def on(of: Weights, text: str, gpus: Sequence[Gpu] = ()) -> Estimate:
    return estimate(model(text), of, gpus)


SEEN = [
    # what llama.cpp of August 2026 printed for these very shapes: KV and RS, compute and output, in MiB
    ("llama 1B, tied", 3, "context: 4096", 24.0, 72.51),
    ("llama 1B, tied", 3, "context: 16384", 96.0, 84.51),
    ("llama 1B, tied", 3, "context: 1024\nparallel: 4", 24.0, 70.98),
    ("llama 1B, tied", 3, "context: 4096\nargs: [-ub, 256]", 24.0, 36.50),
    ("llama 1B, tied", 3, "context: 4096\nargs: [-fa, 'off']", 24.0, 290.50),
    ("llama 1B, tied", 3, "context: 4096\nkv_cache_dtype: q8_0", 12.75, 72.54),
    ("qwen2 7B", 3, "context: 8192", 48.0, 154.60),
    ("qwen3 30B-A3B", 3, "context: 4096", 24.0, 92.60),
    ("mixtral", 3, "context: 4096", 48.0, 212.14),
    ("gemma3 4B", 6, "context: 4096", 46.0, 91.53),
    ("gemma3 4B", 6, "context: 4096\nargs: [-ub, 256]", 41.0, 46.14),
    ("gemma3 4B", 6, "context: 1024\nparallel: 4", 96.0, 91.03),
    ("gemma3 4B", 6, "context: 4096\nargs: [--swa-full]", 96.0, 94.03),
    ("gpt-oss 20B", 6, "context: 4096", 28.5, 101.17),
    ("deepseek2 lite", 3, "context: 4096", 13.5, 88.53),
    ("mamba 1.4B", 3, "context: 1024\nparallel: 4", 3.56, 61.97),
    ("jamba", 8, "context: 4096", 10.6, 79.64),
    ("phi3 mini", 3, "context: 4096", 144.0, 82.14),
    ("falcon 7B", 3, "context: 4096", 3.0, 93.02),
    ("gpt2 large", 3, "context: 4096", 60.0, 26.71),
]  # fmt: skip


@pytest.mark.parametrize(("name", "layers", "text", "cache", "compute"), SEEN)
def test_buffers_are_as_llama_cpp_was_seen_to_allocate_them(
    name: str, layers: int, text: str, cache: float, compute: float
) -> None:
    host = on(weights(name, layers=layers), text).host
    assert host.cache / MIB == pytest.approx(cache, rel=0.003)
    assert host.compute / MIB == pytest.approx(compute, rel=0.03)


def test_on_a_gpu_the_embedding_stays_on_the_host_and_a_tied_one_is_held_twice() -> None:
    of = weights("llama 1B, tied")
    made = on(of, "context: 4096", [gpu(0)])
    assert made.gpus[0].weights == of.total
    assert made.host.weights == of.embedding
    apart = weights("llama 8B", layers=2)
    made = on(apart, "context: 4096", [gpu(0)])
    assert made.gpus[0].weights == apart.total - apart.embedding
    assert made.host.cache == 0
    # what CUDA_Host was seen to hold: the mask, the vectors that go in and those that come out
    assert made.host.compute == 4096 * 512 * 2 + 2 * 512 * 4096 * 4 + 128256 * 4


def test_layers_are_dealt_out_by_free_memory_and_the_last_gpu_gets_the_output() -> None:
    of = weights("llama 8B", layers=31)
    even = on(of, "context: 4096", [gpu(0), gpu(1)])
    layer = of.layers[0].weights
    assert [share.weights for share in even.gpus] == [16 * layer, 15 * layer + of.output]
    uneven = on(of, "context: 4096", [gpu(0, memory=96), gpu(1, memory=96, used=64)])
    assert uneven.gpus[0].weights // layer == 24
    assert sum(share.cache for share in uneven.gpus) == 31 * 4096 * 2 * 2 * 1024


def test_gpus_that_work_as_a_pipeline_hold_their_inputs_four_times() -> None:
    of = weights("llama 8B", layers=31)
    one, two = (on(of, "context: 8192", [gpu(index) for index in range(count)]).gpus[0].compute for count in (1, 2))
    assert two - one == 3 * 8192 * 512 * 2
    rows = on(of, "context: 8192\nargs: [-sm, row]", [gpu(0), gpu(1)])
    assert rows.gpus[0].compute == one


def test_very_many_requests_make_the_logits_the_largest_thing_that_is_computed() -> None:
    of = weights("llama 1B, tied", layers=2)
    made = on(of, "context: 256\nparallel: 256", [gpu(0)])
    assert made.gpus[0].compute == 256 * 128256 * 4 + 256 * 512 * 2


def test_args_say_how_layers_are_split() -> None:
    of = weights("llama 8B", layers=31)
    layer = of.layers[0].weights
    two = [gpu(0), gpu(1)]
    assert on(of, "args: [-ts, '3,1']\ncontext: 512", two).gpus[0].weights == 24 * layer
    single = on(of, "args: [-sm, none, -mg, 1]\ncontext: 512", two)
    assert [share.weights for share in single.gpus] == [0, 31 * layer + of.output]
    assert single.gpus[0].compute == 0


def test_layers_that_are_not_offloaded_stay_on_the_host_with_their_cache() -> None:
    of = weights("llama 8B", layers=31)
    made = on(of, "context: 4096\nargs: [-ngl, 11]", [gpu(0)])
    assert made.gpus[0].weights == 10 * of.layers[0].weights + of.output
    assert made.host.weights == 21 * of.layers[0].weights + of.embedding
    assert made.host.cache == 21 * 4096 * 2 * 2 * 1024


def test_experts_may_stay_on_the_host() -> None:
    of = weights("mixtral")
    made = on(of, "context: 4096\nargs: [--n-cpu-moe, 3]", [gpu(0)])
    assert made.host.weights == of.embedding + sum(layer.experts for layer in of.layers[:3])


def test_a_cache_that_stays_on_the_host_takes_nothing_of_the_gpu() -> None:
    made = on(weights("llama 1B, tied"), "context: 4096\nargs: [-nkvo]", [gpu(0)])
    assert made.gpus[0].cache == 0
    assert made.host.cache == 128 * MIB


def test_a_quantised_cache_needs_room_to_be_unpacked_on_a_gpu() -> None:
    of = weights("llama 1B, tied")
    plain, packed = (
        on(of, f"context: 4096\nkv_cache_dtype: {kind}", [gpu(0)]).gpus[0].runtime for kind in ("f16", "q8_0")
    )
    assert packed - plain == 4096 * 2 * 1024


def test_prompts_kept_on_the_host_count_up_to_their_limit() -> None:
    of = weights("llama 1B, tied")
    assert on(of, "context: 4096").host.prompts == 8 * GIB
    assert on(of, "context: 4096\nargs: [-cram, 0]").host.prompts == 0
    unlimited = on(of, "context: 4096\nargs: [-cram, '-1']")
    assert unlimited.notes == ("prompts kept on the host have no limit",)


def test_windows_and_states_are_kept_as_snapshots_beside_the_prompts() -> None:
    of = weights("gemma3 4B", layers=6)
    made = on(of, "context: 32768\nargs: [-cram, 0]")
    assert made.host.prompts == 4 * 5 * 1536 * 2 * 2 * 1024
    assert on(of, "context: 32768\nargs: [-cram, 0, --ctx-checkpoints, 0]").host.prompts == 0


def test_weights_that_a_cpu_likes_in_another_order_are_held_twice() -> None:
    of = weights("llama 1B, tied", layers=2)
    assert (on(of, "context: 512").host.weights, on(of, "context: 512").host.spare) == (of.total, of.total)
    assert on(of, "context: 512\nargs: [--no-repack]").host.spare == 0
    half = weights("llama 1B, tied", layers=2, kind="F16")
    assert (on(half, "context: 512").host.weights, on(half, "context: 512").host.spare) == (half.total, 0)


def test_without_a_context_the_models_own_is_taken_and_said() -> None:
    made = on(weights("qwen3 4B"), "", [gpu(0)])
    assert made.notes == ("context 131072, as none is declared",)
    assert made.gpus[0].cache == 36 * 131072 * 2 * 2 * 1024


def test_more_context_never_takes_less() -> None:
    for name in ("llama 1B, tied", "gemma3 4B", "deepseek2 lite", "jamba"):
        of = weights(name)
        sizes = [on(of, f"context: {context}", [gpu(0)]).most for context in (512, 4096, 8192, 65536)]
        assert sizes == sorted(sizes)


def test_adapters_a_projector_and_a_draft_model_count_too() -> None:
    of = weights("llama 1B, tied", layers=2)
    what = model("context: 512\nadapters: [{name: sql, source: 'file:/a'}, {name: de, source: 'file:/b'}]")
    size = replace(of, total=100 * MIB)
    bare = on(of, "context: 512", [gpu(0)])
    beside = Beside(adapters=(size, Unreadable(reason="it is no GGUF file")), projector=size, draft=size)
    made = estimate(what, of, [gpu(0)], beside=beside)
    assert made.gpus[0].total == bare.gpus[0].total + (100 + 125 + 125) * MIB
    assert made.notes == ("adapter de counts nothing: it is no GGUF file",)
    assert made.uncertainty > bare.uncertainty
    host = estimate(what, of, beside=beside).host
    assert (host.adapters, host.projector, host.draft) == (100 * MIB, 125 * MIB, 125 * MIB)


def test_what_args_load_beside_the_model_is_named_as_sources() -> None:
    spec = model("args: [--mmproj, /m/eye.gguf, -md, /m/small.gguf, --seed, 7]").spec
    assert isinstance(spec, Model)
    assert flags.beside(spec) == ("file:/m/eye.gguf", "file:/m/small.gguf")
    bare = model().spec
    assert isinstance(bare, Model)
    assert flags.beside(bare) == (None, None)


def test_a_flag_that_makes_no_sense_leaves_the_engines_default() -> None:
    spec = model("args: [-c, many, -np, '-3', -ts, 'a,b', -ctk]").spec
    assert isinstance(spec, Model)
    assert flags.llama(spec, gpu=True) == replace(flags.LlamaSettings(), keys="")


def hub(**changes: object) -> Weights:
    """An 8B model in BF16, as its headers give it."""
    layer = Layer(
        weights=436 * MIB, attention="full", heads=32, kv_heads=8, key_length=128, value_length=128, feed_forward=14336
    )
    of = Weights(
        format="safetensors",
        architecture="LlamaForCausalLM",
        dtype="BF16",
        total=15316 * MIB,
        layers=(layer,) * 32,
        context_length=131072,
        embedding_length=4096,
        vocab=128256,
    )
    return replace(of, **changes)  # pyright: ignore[reportArgumentType]


def vllm(of: Weights, text: str, gpus: Sequence[Gpu]) -> Estimate:
    return estimate(model(text, engine="vllm"), of, gpus)


def test_vllm_needs_its_weights_one_request_of_full_length_and_its_graphs() -> None:
    made = vllm(hub(), "context: 8192", [gpu(0)]).gpus[0]
    assert made.weights == 15316 * MIB
    assert made.cache == GIB
    assert 2 * GIB < made.compute + made.runtime < 4 * GIB
    eager = vllm(hub(), "context: 8192\nargs: [--enforce-eager]", [gpu(0)]).gpus[0]
    assert made.total - eager.total == 700 * MIB


def test_vllm_on_the_cpu_needs_of_the_host_its_weights_one_request_and_its_three_processes() -> None:
    made = vllm(hub(), "context: 8000", [])
    assert made.gpus == ()
    assert (made.host.weights, made.host.runtime) == (hub().total, ON_CPU)
    assert made.host.cache == vllm(hub(), "context: 8064", [gpu(0)]).gpus[0].cache, "in blocks of 128"
    assert made.needed == made.host.weights + made.host.cache + made.host.runtime


def test_vllm_computes_larger_batches_on_larger_cards_unless_args_say_how_large() -> None:
    few = "context: 8192\nargs: [--max-num-seqs=1]"
    small, large = (vllm(hub(), few, [gpu(0, memory=size)]).gpus[0].compute for size in (24, 80))
    assert small < large / 3
    told = vllm(hub(), "context: 8192\nargs: [--max-num-batched-tokens=8192, --max-num-seqs=1]", [gpu(0, memory=24)])
    assert told.gpus[0].compute == large


def test_vllm_takes_the_share_of_the_card_that_args_name() -> None:
    made = vllm(hub(), "context: 8192\nargs: [--gpu-memory-utilization=0.5]", [gpu(0, memory=80)])
    assert made.most == 40 * GIB
    small = vllm(hub(), "context: 8192\nargs: [--gpu-memory-utilization, '0.1']", [gpu(0, memory=80)])
    assert small.most == vllm(hub(), "context: 8192", [gpu(0, memory=80)]).most


def test_ranks_share_weights_and_heads_and_each_has_its_own_runtime() -> None:
    one = vllm(hub(), "context: 8192", [gpu(0)]).gpus[0]
    four = vllm(hub(), "context: 8192", [gpu(index) for index in range(4)])
    assert len(four.gpus) == 4
    assert four.gpus[0].cache == one.cache // 4
    assert one.weights // 4 < four.gpus[0].weights < one.weights // 4 * 1.03
    assert four.gpus[0].runtime == one.runtime


def test_a_latent_is_kept_whole_by_every_rank() -> None:
    layer = Layer(weights=MIB, attention="mla", heads=128, kv_heads=1, key_length=576, value_length=512)
    of = hub(layers=(layer,) * 60)
    caches = [vllm(of, "context: 8192", [gpu(index) for index in range(count)]).gpus[0].cache for count in (1, 8)]
    assert caches == [60 * 8192 * 576 * 2] * 2


def test_an_fp8_cache_is_half_and_a_window_is_not_the_whole_context() -> None:
    plain = vllm(hub(), "context: 65536", [gpu(0)]).gpus[0].cache
    assert vllm(hub(), "context: 65536\nkv_cache_dtype: fp8", [gpu(0)]).gpus[0].cache == plain // 2
    sliding = tuple(replace(layer, attention="sliding") for layer in hub().layers)
    assert vllm(hub(layers=sliding, window=1024), "context: 65536", [gpu(0)]).gpus[0].cache < plain // 6
    assert vllm(hub(), "context: 65536\nparallel: 3", [gpu(0)]).gpus[0].cache == plain


def test_ollama_takes_what_llama_cpp_takes_for_the_context_that_it_is_given() -> None:
    of, card = weights("llama 1B, tied"), [gpu(0)]
    told = estimate(model("context: 4096\nargs: [-b, 512]"), of, card)
    for text in ("context: 4096", ""):
        made = estimate(model(text, engine="ollama"), of, card)
        assert made.gpus == told.gpus, "without a context it is given 4096"
        assert made.uncertainty > told.uncertainty
    assert estimate(model("parallel: 2", engine="ollama"), of, card).gpus[0].cache == 2 * told.gpus[0].cache
    assert not estimate(model("gpus: 0", engine="ollama"), of).gpus


def test_an_engine_without_code_gets_weights_and_cache_with_a_wide_margin() -> None:
    of = fleet(
        "kind: Engine\nname: own\ncommand: [serve, '{source}']\n---\n"
        "kind: Model\nname: m\nsource: hf:org/m\nengine: own\ncontext: 8192\ngpus: 2"
    )
    made = estimate(of.workloads["m"], hub(), [gpu(0), gpu(1)])
    assert made.uncertainty == 0.3
    assert made.notes == ("nothing is known of how own uses memory",)
    assert made.gpus[0].weights == 15316 * MIB // 2
    assert made.gpus[0].cache == GIB // 2


def test_a_small_model_of_safetensors_is_estimated_from_its_header() -> None:
    part = safetensors.read(safetensors_files.header(safetensors_files.llama()))
    assert isinstance(part, safetensors.Part)
    of = safetensors.weigh(b'{"num_hidden_layers": 2, "num_attention_heads": 8, "hidden_size": 64}', [part])
    assert isinstance(of, Weights)
    assert vllm(of, "context: 64", [gpu(0)]).gpus[0].cache == 2 * 64 * 2 * 2 * 64
