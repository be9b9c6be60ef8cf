"""What engines say in their logs of the memory they took, in their own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engines import measured
from tests.observe.sights import launch

MIB, GIB = 2**20, 2**30

FITTED = """\
0.00.003.834 I srv    load_model: loading model 'models/demo.gguf'
0.00.003.870 I cmn  common_init_: fitting params to device memory ...
0.00.004.959 I load_tensors:          CPU model buffer size =     0.00 MiB
0.00.005.131 I llama_kv_cache:        CPU KV buffer size =     0.00 MiB
0.00.006.055 I sched_reserve:        CPU compute buffer size =     1.89 MiB
0.00.006.284 I common_fit_params: successfully fit params to free device memory
0.00.006.286 I common_fit_params: fitting params to free memory took 0.00 seconds
0.00.007.080 I load_tensors:   CPU_Mapped model buffer size =     0.25 MiB
0.00.007.271 I llama_kv_cache:        CPU KV buffer size =     0.50 MiB
0.00.008.258 I sched_reserve:        CPU compute buffer size =     1.89 MiB
"""

CPU = """\
0.00.007.123 I load_tensors:   CPU_Mapped model buffer size =     0.25 MiB
0.00.007.323 I llama_context:        CPU  output buffer size =     0.50 MiB
0.00.007.371 I llama_kv_cache:        CPU KV buffer size =     1.00 MiB
0.00.007.775 I llama_kv_cache: size =    1.00 MiB (  4096 cells,   1 layers,  1/1 seqs), K (f16):    0.50 MiB
0.00.474.880 I llama_memory_recurrent:        CPU RS buffer size =     2.50 MiB
0.00.008.377 I sched_reserve:        CPU compute buffer size =     4.75 MiB
"""

CUDA = """\
load_tensors: offloaded 33/33 layers to GPU
load_tensors:   CPU_Mapped model buffer size =   281.81 MiB
load_tensors:        CUDA0 model buffer size =  2155.00 MiB
load_tensors:        CUDA1 model buffer size =  2225.00 MiB
llama_context:  CUDA_Host  output buffer size =     0.49 MiB
llama_kv_cache:      CUDA0 KV buffer size =   512.00 MiB
llama_kv_cache:      CUDA1 KV buffer size =   512.00 MiB
sched_reserve:      CUDA0 compute buffer size =   258.50 MiB
sched_reserve:      CUDA1 compute buffer size =   258.50 MiB
sched_reserve:  CUDA_Host compute buffer size =    24.01 MiB
"""

VLLM = """\
(Worker_TP0 pid=34322) INFO 05-06 20:59:59 [gpu_model_runner.py:4879] Model loading took 12.66 GiB memory and 31 seconds
(Worker_TP1 pid=34323) INFO 05-06 20:59:59 [gpu_model_runner.py:4879] Model loading took 12.50 GiB memory and 31 seconds
(Worker_TP0 pid=34322) INFO 05-06 21:01:00 [gpu_worker.py:298] Available KV cache memory: 8.00 GiB
(Worker_TP1 pid=34323) INFO 05-06 21:01:00 [gpu_worker.py:298] Available KV cache memory: 8.25 GiB
(EngineCore pid=34300) INFO 05-06 21:01:00 [kv_cache_utils.py:829] GPU KV cache size: 178,880 tokens
(Worker_TP0 pid=34322) INFO 05-06 21:01:20 [gpu_model_runner.py:5993] Graph capturing finished in 12 secs, took 0.50 GiB
"""

# vLLM 0.32, as it really printed it
VLLM_ON_CPU = """\
(Worker pid=22852) INFO 11-21 06:18:01 [weight_utils.py:1108] Filesystem type for checkpoints: EXT4. Checkpoint size: 0.00 GiB. Available RAM: 21.36 GiB.
(Worker pid=22852) INFO 11-21 06:18:01 [default_loader.py:501] Loading weights took 0.00 seconds
(Worker pid=22852) INFO 11-21 06:18:01 [cpu_worker.py:260] Explicitly set (1.0/20.09) GiB for KV cache on node 0.
(EngineCore pid=22780) INFO 11-21 06:18:01 [kv_cache_utils.py:2327] CPU KV cache size: 2,097,152 tokens, Maximum concurrency for 512 tokens per request: 4096.00x
(EngineCore pid=22780) INFO 11-21 06:18:04 [core.py:402] init engine (profile, create kv cache, warmup model) took 2.72 s
"""  # noqa: E501

# as the server of 0.5.6 and of 0.5.23 writes it
SGLANG = """\
[2026-11-20 10:00:00 TP0] Load weight begin. avail mem=78.60 GB
[2026-11-20 10:00:09 TP0] Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, avail mem=70.85 GB, mem usage=7.50 GB.
[2026-11-20 10:00:09 TP1] Load weight end. elapsed=8.71 s, type=LlamaForCausalLM, avail mem=70.85 GB, mem usage=7.75 GB.
[2026-11-20 10:00:10 TP0] KV Cache is allocated. #tokens: 131072, K size: 4.00 GB, V size: 4.00 GB
[2026-11-20 10:00:10 TP1] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 131072, KV size: 8.00 GB
[2026-11-20 10:00:10 TP0] Memory pool end. avail mem=62.71 GB
[2026-11-20 10:00:20 TP0] Capture cuda graph end. Time elapsed: 9.87 s. mem usage=0.50 GB. avail mem=62.21 GB.
[2026-11-20 10:00:20 TP1] Capture target decode CUDA graph end. bs=[1, 2], elapsed=9.87 s, mem usage=0.25 GB, avail mem=62.21 GB.
"""  # noqa: E501


def test_buffers_of_llama_cpp_are_summed_by_device() -> None:
    found = measured.llamacpp(CPU.splitlines())
    assert [device.device for device in found] == ["CPU", "CPU_Mapped"]
    assert found[0] == measured.Measured(
        device="CPU", host=True, cache=3 * MIB + MIB // 2, compute=int(4.75 * MIB), output=MIB // 2
    )
    assert sum(device.total for device in found) == 9 * MIB


def test_memory_of_the_host_is_no_gpu_memory() -> None:
    found = measured.llamacpp(CUDA.splitlines())
    assert {device.device: device.host for device in found} == {
        "CPU_Mapped": True, "CUDA0": False, "CUDA1": False, "CUDA_Host": True,
    }  # fmt: skip
    assert found[1].total == int((2155 + 512 + 258.5) * MIB)


def test_a_model_that_was_loaded_again_counts_once_and_a_draft_model_on_top() -> None:
    begin = "0.00.003.477 I srv    load_model: loading model 'models/demo.gguf'"
    draft = "0.00.004.000 I srv    load_model: loading draft model 'models/draft.gguf'"
    lines = [begin, *CUDA.splitlines()]
    assert measured.llamacpp([*lines, *lines]) == measured.llamacpp(lines)
    once, twice = measured.llamacpp(lines), measured.llamacpp([*lines, draft, *CUDA.splitlines()])
    assert [device.total for device in twice] == [2 * device.total for device in once]


def test_what_is_only_rehearsed_to_fit_is_not_allocated() -> None:
    found = measured.llamacpp(FITTED.splitlines())
    assert sum(device.total for device in found) == sum(round(size * MIB) for size in (0.25, 0.5, 1.89))


def test_ranks_of_vllm_are_told_apart() -> None:
    first, second = measured.vllm(VLLM.splitlines())
    assert first == measured.Measured(
        device="rank 0", host=False, weights=round(12.66 * GIB), cache=8 * GIB, compute=GIB // 2
    )
    assert second.total == round((12.5 + 8.25) * GIB)


def test_ranks_of_sglang_are_told_apart() -> None:
    first, second = measured.sglang(SGLANG.splitlines())
    assert (first.device, first.weights, first.cache, first.compute) == ("rank 0", 7.5 * GIB, 8 * GIB, GIB / 2)
    assert (second.device, second.weights, second.cache, second.compute) == ("rank 1", 7.75 * GIB, 8 * GIB, GIB / 4)


def test_sglang_has_pools_and_draft_models_beside_and_may_size_a_pool_again() -> None:
    alone = [line.replace(" TP0]", "]") for line in SGLANG.splitlines() if " TP0]" in line][:3]
    (one,), (two,) = measured.sglang(alone), measured.sglang([*alone, *alone])
    assert (one.device, two.total) == ("rank 0", 2 * one.total)
    again = "[2026-11-20 10:00:21] Post-capture KV sizing: KV cache allocated. dtype: x, #tokens: 9, KV size: 6.00 GB"
    assert measured.sglang([*alone, again])[0].cache == 6 * GIB


def test_one_process_is_rank_0() -> None:
    line = "(EngineCore pid=1265223) INFO 06-02 00:51:40 [model_runner.py:295] Model loading took 7.64 GiB and 32 s"
    assert measured.vllm([line]) == (measured.Measured(device="rank 0", host=False, weights=round(7.64 * GIB)),)


@pytest.mark.parametrize(
    ("what", "engine", "log", "figure"),
    [
        ("the GPU that gives most", "llamacpp", CUDA, int((2225 + 512 + 258.5) * MIB)),
        ("nothing on a GPU", "llamacpp", CPU, None),
        ("cut off before what it computes in", "llamacpp", "\n".join(CUDA.splitlines()[:7]), None),
        ("a GPU that it was not given", "llamacpp", CUDA.replace("CUDA1", "CUDA2"), None),
        ("a buffer that spans GPUs", "llamacpp", CUDA.replace("CUDA1 model", "CUDA_Split model"), None),
        ("of another engine", "mine", CUDA, None),
        ("less than the share that it takes", "vllm", VLLM, 24 * GIB),
        ("more than its share", "vllm", VLLM.replace("8.25", "15.25"), int((12.5 + 15.25) * GIB)),
        ("its first rank speaks for all", "vllm", "\n".join(VLLM.splitlines()[::2]), 24 * GIB),
        ("on the CPU, where it states nothing", "vllm", VLLM_ON_CPU, None),
        ("only weights", "vllm", VLLM.splitlines()[0], None),
        ("less than the share that it takes", "sglang", SGLANG, 24 * GIB),
        ("more than its share", "sglang", SGLANG.replace("KV size: 8.00", "KV size: 18.00"), 26 * GIB),
        ("only weights", "sglang", "\n".join(SGLANG.splitlines()[:3]), None),
        ("more ranks than GPUs", "vllm", VLLM + VLLM.replace("TP1", "TP2"), None),
    ],
)  # fmt: skip
def test_a_log_states_what_the_gpu_gives_that_gives_most(what: str, engine: str, log: str, figure: int | None) -> None:
    """Or nothing, where that is not all of it, or not to be understood."""
    asked = launch(engine=engine, gpus=("GPU-a", "GPU-b"), memory=24 * GIB)
    assert measured.stated(asked, log.splitlines()) == figure, what


def test_a_log_that_says_nothing_measures_nothing() -> None:
    assert measured.llamacpp(["main: server is listening", ""]) == ()
    assert measured.vllm(["INFO: Started server process"]) == ()


@given(st.lists(st.text(max_size=80) | st.sampled_from((CPU + CUDA + VLLM + SGLANG).splitlines()), max_size=20))
def test_whatever_stands_in_a_log_is_read_without_an_error(lines: list[str]) -> None:
    for engine in ("llamacpp", "vllm", "sglang"):
        figure = measured.stated(launch(engine=engine, gpus=("GPU-a", "GPU-b")), lines)
        assert figure is None or figure > 0


def test_a_line_without_end_costs_no_more_than_its_beginning() -> None:
    assert measured.llamacpp(["x " * 5_000_000 + "CUDA0 KV buffer size = 1.00 MiB"]) == ()
