"""Golden: the command lines that engines are started with."""

from dataclasses import replace

import pytest

from reconciler import engines
from reconciler.engines.dialect import openai
from reconciler.model.container import Container, Mount, Unit
from reconciler.model.fleet import Fleet
from reconciler.model.kinds import Cache, Node
from reconciler.model.observation import Gpu
from reconciler.model.plan import Launch, Size, Strikes
from reconciler.model.status import Reason
from tests.plan.world import GIB, HOST, fleet, gpu


def launched(
    of: Fleet,
    *,
    gpus: tuple[Gpu, ...] = (),
    programs: dict[str, str] | None = None,
    node: Node | None = None,
    weights: str = "/cache/it",
    size: Size | None = None,
    adapters: dict[str, str] | None = None,
) -> Launch | engines.Refusal:
    workload = next(iter(of.workloads.values()))
    host = HOST if programs is None else replace(HOST, programs=programs)
    return engines.launch(
        workload,
        slot=f"{workload.name}/0",
        run=1,
        gpus=gpus,
        size=size or Size(gpus=len(gpus), memory=workload.needs.memory),
        port=9000,
        strikes=Strikes(),
        host=host,
        node=node or Node(name="local"),
        weights=weights,
        adapters=adapters or {},
    )


def argv(of: str, *, gpus: tuple[Gpu, ...] = (), programs: dict[str, str] | None = None) -> str:
    made = launched(fleet(of), gpus=gpus, programs=programs)
    assert isinstance(made, Launch), made
    return " ".join(made.argv)


GOLDEN = {
    "llama.cpp on the cpu, embedded": (
        "kind: Model\nname: demo\nsource: file:../models/demo.gguf\ngpus: 0\ncontext: 256\nparallel: 2",
        (),
        {},
        "/usr/bin/python3 -m reconciler.act.llama_server --model /etc/models/demo.gguf --alias demo --host 127.0.0.1 "
        "--port 9000 --metrics -np 2 -ngl 0 -c 512",
    ),
    "llama-server from PATH on a gpu": (
        "kind: Model\nname: demo\nsource: file:/m/a.gguf\ngpus: 1\nkv_cache_dtype: q8_0\n"
        "adapters: [{name: sql, source: 'file:/m/sql.gguf'}]\nargs: [--metrics, --seed, 7]",
        (gpu(0),),
        None,
        "/usr/bin/llama-server --model /m/a.gguf --alias demo --host 127.0.0.1 --port 9000 --metrics -np 1 -ngl 999 "
        "--fit off -ctk q8_0 -ctv q8_0 --lora /m/sql.gguf --metrics --seed 7",
    ),
    "llama-server is told where its fetched file lies": (
        "kind: Model\nname: demo\nsource: hf:org/some-GGUF/q4.gguf",
        (gpu(0),),
        None,
        "/usr/bin/llama-server --model /cache/it --alias demo --host 127.0.0.1 --port 9000 --metrics -np 1 "
        "-ngl 999 --fit off",
    ),
    "vllm on part of a gpu": (
        "kind: Model\nname: chat\nsource: hf:Qwen/Qwen3-8B@abc\nmemory: 20GiB\ncontext: 8192\nparallel: 64\n"
        "dtype: bfloat16\nkv_cache_dtype: fp8",
        (gpu(0),),
        None,
        "/usr/bin/vllm serve /cache/it --host 127.0.0.1 --port 9000 --served-model-name chat "
        "--max-model-len 8192 --max-num-seqs 64 --dtype bfloat16 --kv-cache-dtype fp8 --gpu-memory-utilization 0.2500",
    ),
    "vllm over two whole gpus with adapters": (
        "kind: Model\nname: big\nsource: file:/m/big\ngpus: 2\nengine: vllm\n"
        "adapters: [{name: sql, source: 'hf:org/sql'}, {name: law, source: 'file:/m/law'}]\nargs: [--seed, '1']",
        (gpu(0), gpu(1)),
        None,
        "/usr/bin/vllm serve /m/big --host 127.0.0.1 --port 9000 --served-model-name big --tensor-parallel-size 2 "
        "--gpu-memory-utilization 0.9000 --lora-modules sql=org/sql law=/m/law --enable-lora --max-loras 2 --seed 1",
    ),
    "vllm that may sleep": (
        "kind: Model\nname: chat\nsource: hf:Qwen/Qwen3-8B\nmemory: 20GiB\nidle_action: sleep\nargs: [--seed, '1']",
        (gpu(0),),
        None,
        "/usr/bin/vllm serve /cache/it --host 127.0.0.1 --port 9000 --served-model-name chat "
        "--gpu-memory-utilization 0.2500 --enable-sleep-mode --seed 1",
    ),
    "sglang on part of a gpu": (
        "kind: Model\nname: chat\nsource: hf:Qwen/Qwen3-8B\nengine: sglang\nmemory: 40GiB\ncontext: 8192\n"
        "parallel: 64\ndtype: bfloat16\nkv_cache_dtype: fp8_e5m2",
        (gpu(0, used=20),),
        None,
        "/usr/bin/sglang serve --model-path /cache/it --host 127.0.0.1 --port 9000 --served-model-name chat "
        "--enable-metrics --context-length 8192 --max-running-requests 64 --dtype bfloat16 --kv-cache-dtype fp8_e5m2 "
        "--mem-fraction-static 0.4425",
    ),
    "sglang over two whole gpus with adapters": (
        "kind: Model\nname: big\nsource: file:/m/big\ngpus: 2\nengine: sglang\n"
        "adapters: [{name: sql, source: 'hf:org/sql'}, {name: law, source: 'file:/m/law'}]\nargs: [--random-seed, '1']",
        (gpu(0), gpu(1)),
        None,
        "/usr/bin/sglang serve --model-path /m/big --host 127.0.0.1 --port 9000 --served-model-name big "
        "--enable-metrics --tensor-parallel-size 2 --lora-paths sql=org/sql law=/m/law --enable-lora "
        "--max-loras-per-batch 3 --random-seed 1",
    ),
    "sglang that may sleep": (
        "kind: Model\nname: chat\nsource: hf:Qwen/Qwen3-8B\nengine: sglang\nidle_action: sleep",
        (gpu(0),),
        None,
        "/usr/bin/sglang serve --model-path /cache/it --host 127.0.0.1 --port 9000 --served-model-name chat "
        "--enable-metrics --enable-memory-saver --enable-weights-cpu-backup",
    ),
    "tgi on part of a gpu": (
        "kind: Model\nname: chat\nsource: hf:Qwen/Qwen3-8B\nengine: tgi\nmemory: 20GiB\ncontext: 8192\nparallel: 64\n"
        "dtype: bfloat16",
        (gpu(0),),
        None,
        "/usr/bin/text-generation-launcher --model-id /cache/it --hostname 127.0.0.1 --port 9000 --num-shard 1 "
        "--shard-uds-path /tmp/holdfast-tgi-9000 --master-port 19000 --max-input-tokens 8191 --max-total-tokens 8192 "
        "--max-batch-size 64 --dtype bfloat16 --cuda-memory-fraction 0.2500",
    ),
    "tgi over two whole gpus with an adapter": (
        "kind: Model\nname: big\nsource: file:/m/big\ngpus: 2\nengine: tgi\nkv_cache_dtype: fp8_e5m2\n"
        "adapters: [{name: law, source: 'file:/m/law'}]\nargs: [--trust-remote-code]",
        (gpu(0), gpu(1)),
        None,
        "/usr/bin/text-generation-launcher --model-id /m/big --hostname 127.0.0.1 --port 9000 --num-shard 2 "
        "--shard-uds-path /tmp/holdfast-tgi-9000 --master-port 19000 --kv-cache-dtype fp8_e5m2 --trust-remote-code",
    ),
    "triton serves one model of a repository": (
        "kind: Model\nname: chat\nsource: file:/m/repository\nengine: triton\ngpus: 1\nmemory: 20GiB\n"
        "update: {grace: 30s}\nargs: [--log-verbose=1]",
        (gpu(0),),
        None,
        "/usr/bin/tritonserver --model-repository=/m/repository --model-control-mode=explicit --load-model=chat "
        "--http-address=127.0.0.1 --http-port=9000 --allow-grpc=false --allow-metrics=false --exit-timeout-secs=30 "
        "--log-verbose=1",
    ),
    "an engine without code": (
        "kind: Engine\nname: tiny\ncommand: [serve, '{source}', '--port={port}', '--ctx={context}', '{params.mode}', "
        "'{{x}}', '{name}-{index}']\n---\nkind: Model\nname: m\nsource: hf:a/b\nengine: tiny\ngpus: 1\n"
        "params: {mode: fast}\nargs: [-v]",
        (gpu(0),),
        None,
        "serve a/b --port=9000 fast {x} m-0 -v",
    ),
    "an engine without code whose weights are fetched": (
        "kind: Engine\nname: tiny\ncommand: [serve, '{weights}', --name, '{source}']\n---\n"
        "kind: Model\nname: m\nsource: hf:a/b\nengine: tiny\ngpus: 1",
        (gpu(0),),
        None,
        "serve /cache/it --name a/b",
    ),
    "a service": (
        "kind: Service\nname: web\ncommand: [python3, -m, http.server, '{port}']",
        (),
        None,
        "python3 -m http.server 9000",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_command_line(name: str) -> None:
    text, gpus, programs, expected = GOLDEN[name]
    assert argv(text, gpus=gpus, programs=programs) == expected


def test_an_engine_sees_its_gpus_and_no_others() -> None:
    made = launched(fleet("kind: Model\nname: a\nsource: file:/a.gguf"), gpus=(gpu(1), gpu(3)))
    assert isinstance(made, Launch)
    assert made.env["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-3"
    assert made.gpus == ("GPU-1", "GPU-3")
    on_cpu = launched(fleet("kind: Model\nname: a\nsource: file:/a.gguf\ngpus: 0"))
    assert isinstance(on_cpu, Launch)
    assert not on_cpu.env["CUDA_VISIBLE_DEVICES"]
    amd = tuple(replace(gpu(index), maker="amd") for index in (1, 3))
    made = launched(fleet("kind: Model\nname: a\nsource: file:/a.gguf"), gpus=amd)
    assert isinstance(made, Launch)
    assert made.env["ROCR_VISIBLE_DEVICES"] == "GPU-1,GPU-3"
    assert "CUDA_VISIBLE_DEVICES" not in made.env, "HIP takes it for indices"


def test_a_models_own_environment_wins_and_the_node_says_where_weights_go() -> None:
    node = Node(name="local", cache=Cache(path="/big/cache"))
    made = launched(fleet("kind: Model\nname: a\nsource: file:/a.gguf\nenv: {HF_HOME: /mine}"), node=node)
    assert isinstance(made, Launch)
    assert made.env["HF_HOME"] == "/mine"
    assert made.env["LLAMA_CACHE"] == "/big/cache"


@pytest.mark.parametrize(
    ("promised", "weights", "cache"),
    [(12 * GIB, GIB, 8 * GIB), (12 * GIB, None, 9 * GIB), (3 * GIB, 2 * GIB, GIB // 4), (0, None, None)],
)
def test_vllm_on_the_cpu_keeps_to_the_host_memory_that_it_is_promised(
    promised: int, weights: int | None, cache: int | None
) -> None:
    """By itself it takes 92 % of the host."""
    of = fleet("kind: Model\nname: a\nsource: file:/m/a\nengine: vllm\ngpus: 0")
    made = launched(of, size=Size(host=promised, weights=weights))
    assert isinstance(made, Launch)
    flags = dict(zip(made.argv, made.argv[1:], strict=False))
    assert flags.get("--kv-cache-memory-bytes") == (None if cache is None else str(cache))
    assert "--gpu-memory-utilization" not in flags


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_it_asks_no_hub_as_all_is_fetched_for_it(engine: str) -> None:
    text = f"kind: Model\nname: a\nsource: hf:o/a\nengine: {engine}\nadapters: [{{name: x, source: 'hf:o/x'}}]"
    made = launched(fleet(text), gpus=(gpu(0),), weights="/c/a", adapters={"hf:o/x": "/c/x"})
    assert isinstance(made, Launch)
    assert made.env["HF_HUB_OFFLINE"] == "1"
    assert "x=/c/x" in made.argv
    assert made.files == ("/c/a", "/c/x")
    assert made.adapters == {"x": "hf:o/x"}


FETCHED = {
    "one file": ("source: hf:o/x/q4.gguf", "hf:o/x/q4.gguf"),
    "llama.cpp takes one file of a repository": ("source: hf:o/x-GGUF@main", "hf:o/x-GGUF@main/*.gguf"),
    "vllm takes a repository": ("source: modelscope:o/x", "modelscope:o/x"),
    "an address": ("source: https://h/x.gguf", "https://h/x.gguf"),
    "adapters too": (
        "source: hf:o/x\nadapters: [{name: l, source: 'hf:o/l@v2'}, {name: m, source: 'file:/m'}]",
        "hf:o/x hf:o/l@v2",
    ),
    "an adapter of llama.cpp is one file": (
        "source: hf:o/x-GGUF/x.gguf\nadapters: [{name: l, source: 'modelscope:o/l'}]",
        "hf:o/x-GGUF/x.gguf modelscope:o/l/*.gguf",
    ),
    "what is on this machine is not fetched": ("source: file:/x.gguf", None),
    "an engine that is told the source only fetches by itself": ("source: hf:o/x\nengine: own", None),
    "an engine that is told where weights lie": ("source: hf:o/x\nengine: told", "hf:o/x"),
}


@pytest.mark.parametrize("name", FETCHED)
def test_what_is_fetched_first(name: str) -> None:
    text, expected = FETCHED[name]
    engine = "kind: Engine\nname: {}\ncommand: [x, '{{{}}}']\n---\n"
    of = fleet(f"{engine.format('own', 'source')}{engine.format('told', 'weights')}kind: Model\nname: a\n{text}")
    assert engines.fetched(of.workloads["a"]) == tuple((expected or "").split())


def test_files_that_must_be_there_are_named() -> None:
    made = launched(fleet("kind: Model\nname: a\nsource: file:m/a.gguf\nadapters: [{name: x, source: 'file:x.gguf'}]"))
    assert isinstance(made, Launch)
    assert made.files == ("/etc/fleet.d/m/a.gguf", "/etc/fleet.d/x.gguf")


REFUSED = {
    "vllm is not installed": ("kind: Model\nname: a\nsource: hf:o/x", {}, Reason.EngineMissing),
    "sglang is not installed": ("kind: Model\nname: a\nsource: hf:o/x\nengine: sglang", {}, Reason.EngineMissing),
    "sglang serves no single file": (
        "kind: Model\nname: a\nsource: hf:o/x/f.bin\nengine: sglang",
        None,
        Reason.NotSupported,
    ),
    "tgi is not installed": ("kind: Model\nname: a\nsource: hf:o/x\nengine: tgi", {}, Reason.EngineMissing),
    "tgi serves no single file": (
        "kind: Model\nname: a\nsource: hf:o/x/f.bin\nengine: tgi",
        None,
        Reason.NotSupported,
    ),
    "triton is not installed": ("kind: Model\nname: a\nsource: file:/r\nengine: triton", {}, Reason.EngineMissing),
    "vllm serves no single file": ("kind: Model\nname: a\nsource: hf:o/x/f.bin", None, Reason.NotSupported),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_to_do(name: str) -> None:
    text, programs, reason = REFUSED[name]
    made = launched(fleet(text), gpus=(gpu(0),), programs=programs)
    assert isinstance(made, engines.Refusal)
    assert made.reason is reason
    assert made.detail.startswith("cannot ")
    assert ";" in made.detail or "install" in made.detail


def fingerprint(text: str) -> tuple[str, str]:
    workload = next(iter(fleet(text).workloads.values()))
    return workload.fingerprint, workload.live


BASE = "kind: Model\nname: a\nsource: hf:o/x\n"


def test_a_written_default_changes_no_hash() -> None:
    assert fingerprint(BASE) == fingerprint(BASE + "priority: 100\nparallel: null\nruntime: auto\nreplicas: 1")


def test_the_order_of_keys_changes_no_hash() -> None:
    one, other = BASE + "env: {A: x, B: y}", "env: {B: y, A: x}\n" + BASE
    assert fingerprint(one) == fingerprint(other)


def test_another_way_to_write_a_size_changes_no_hash() -> None:
    assert fingerprint(BASE + "memory: 1GiB") == fingerprint(BASE + "memory: 1024MiB")


@pytest.mark.parametrize(
    "line", ["priority: 5", "replicas: 2", "aliases: [b]", "paused: true", "health: {interval: 1s}", "labels: {a: b}"]
)
def test_a_live_field_changes_the_live_hash_only(line: str) -> None:
    before, after = fingerprint(BASE), fingerprint(BASE + line)
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(
    "line", ["context: 5", "gpus: 2", "memory: 5GiB", "args: [x]", "env: {A: b}", "engine: llamacpp", "nodes: {a: b}"]
)
def test_a_restart_field_changes_the_fingerprint_only(line: str) -> None:
    before, after = fingerprint(BASE), fingerprint(BASE + line)
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_an_engines_command_is_part_of_its_models_fingerprint_and_its_labels_are_not() -> None:
    model = "---\nkind: Model\nname: a\nsource: hf:o/x\nengine: e\n"
    one = fingerprint("kind: Engine\nname: e\ncommand: [x]\n" + model)
    assert one != fingerprint("kind: Engine\nname: e\ncommand: [y]\n" + model)
    assert one == fingerprint("kind: Engine\nname: e\ncommand: [x]\nlabels: {a: b}\n" + model)


def test_the_deadline_to_become_ready_grows_with_the_memory() -> None:
    workload = next(iter(fleet(BASE + "memory: 10GiB").workloads.values()))
    assert engines.probe(workload, (gpu(0), gpu(1)), 10 * GIB).start == 300 + 20 * 10 * 2
    whole = next(iter(fleet(BASE).workloads.values()))
    assert engines.probe(whole, (gpu(0, memory=80),)).start == 300 + 20 * 80
    assert gpu(0, memory=80).memory == 80 * GIB


@pytest.mark.parametrize(
    "line", ["path: /x", "interval: 9s", "timeout: 9s", "failures: 9", "start: 9s", "inference: 9s"]
)
def test_each_setting_of_health_changes_the_probe(line: str) -> None:
    before, after = (
        engines.probe(next(iter(fleet(text).workloads.values()))) for text in (BASE, BASE + f"health: {{{line}}}")
    )
    assert before != after
    assert before == engines.probe(next(iter(fleet(BASE.replace("name: a", "name: b")).workloads.values())))


def test_a_tiny_request_asks_for_the_models_name() -> None:
    asked = BASE + "health: {inference: 60s}"
    for name in ("a", "b"):
        made = engines.probe(next(iter(fleet(asked.replace("name: a", f"name: {name}")).workloads.values())))
        assert (made.inference, made.tiny) == (60.0, openai(name, 60.0))


def test_what_no_engine_can_do_is_said_before_anything_is_placed() -> None:
    for text, words in {
        "engine: nosuch": "nothing declares such an engine",
        "source: ollama:x:y\nengine: vllm": "cannot take ollama: sources with vllm",
        "engine: ollama": "cannot take hf: sources with ollama",
        "source: ollama:x\nargs: [-v]": "cannot be passed to ollama, which takes none; write env",
        "source: ollama:x\nruntime: docker": "cannot be docker with ollama",
        "source: ollama:x\nruntime: {docker: {image: x}}": "cannot be docker with ollama",
        "source: ollama:x\ndtype: f16": "cannot be told to ollama: the model's own configuration says it",
        "source: ollama:x\nadapters: [{name: y, source: 'file:y'}]": "cannot be loaded by ollama, but as part",
        "source: ollama:x\nidle_action: sleep\ngpus: 0": "cannot be sleep with gpus: 0",
        "source: https://h/x\nengine: vllm": "cannot take https: sources with vllm",
        "params: {a: b}": "cannot take params with vllm",
        "idle_action: sleep\nengine: llamacpp": "with engine llamacpp; choose stop, or engine vllm or sglang or ollama",
        "idle_action: sleep\nengine: tgi": "with engine tgi; choose stop, or engine vllm or sglang",
        "idle_action: sleep\nengine: triton\nsource: file:/r": "with engine triton; choose stop, or",
        "engine: triton": "cannot take hf: sources with triton",
        "engine: triton\nsource: file:/r\ncontext: 5": "cannot be told to triton: the model's own conf",
        "idle_action: sleep\ngpus: 0": "cannot be sleep with gpus: 0",
        "idle_action: sleep\ngpus: {count: 0}": "cannot be sleep with gpus: 0",
    }.items():
        with pytest.raises(AssertionError, match=words):
            fleet(f"kind: Model\nname: a\n{'' if 'source' in text else 'source: hf:o/x'}\n{text}")
    with pytest.raises(AssertionError, match="cannot fill in {prot}"):
        fleet("kind: Service\nname: a\ncommand: [x, '{prot}']")
    with pytest.raises(AssertionError, match="cannot probe health.path without a port"):
        fleet("kind: Service\nname: a\ncommand: [x]\nhealth: {path: /x}")


def test_vllm_may_change_adapters_while_it_runs_only_where_it_was_started_with_any() -> None:
    text = "kind: Model\nname: a\nsource: file:m/a\nengine: vllm\n"
    without, made = launched(fleet(text)), launched(fleet(f"{text}adapters: [{{name: x, source: 'file:x'}}]"))
    assert isinstance(without, Launch)
    assert isinstance(made, Launch)
    assert made.env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert made.files == ("/etc/fleet.d/m/a", "/etc/fleet.d/x")
    assert dict(made.adapters) == {"x": "file:/etc/fleet.d/x"}
    attaching = engines.attaching("vllm")
    assert attaching is not None
    assert (attaching.able(without), attaching.able(made)) == (False, True)
    assert made.fingerprint == without.fingerprint


def test_what_is_required_are_adapters_that_cannot_come_while_it_runs() -> None:
    lora = "adapters: [{name: l, source: 'hf:o/l'}]"
    for text, expected in {
        f"source: hf:o/x\n{lora}": ("hf:o/x",),
        f"source: hf:o/x\n{lora}\nruntime: {{docker: {{image: i}}}}": ("hf:o/x", "hf:o/l", "image:i"),
        f"source: file:/x.gguf\n{lora}": ("hf:o/l/*.gguf",),
    }.items():
        assert engines.required(fleet(f"kind: Model\nname: a\n{text}").workloads["a"]) == expected


def test_llamacpp_is_told_where_its_adapters_lie() -> None:
    of = fleet("kind: Model\nname: a\nsource: file:/x.gguf\nadapters: [{name: l, source: 'hf:o/l'}]")
    made = launched(of, adapters={"hf:o/l/*.gguf": "/c/l.gguf"})
    assert isinstance(made, Launch)
    assert made.argv[-2:] == ("--lora", "/c/l.gguf")
    assert made.files[-1] == "/c/l.gguf"


def test_adapters_that_cannot_be_loaded_are_said_before_anything_is_placed() -> None:
    law = "{name: law, source: 'hf:o/l'}"
    for text, words in {
        "adapters: [{name: x, source: 'hf:o/x/a.bin'}]": "cannot load x from one file; write hf:o/x",
        "adapters: [{name: x, source: 'https://h/x'}]": "cannot load x from https: with this engine",
        f"adapters: [{law}, {law}]": "requests for law could mean two things",
        f"aliases: [law]\nadapters: [{law}]": "requests for law could mean two things",
        "adapters: [{name: a, source: 'hf:o/l'}]": "requests for a could mean two things",
        f"engine: tiny\nadapters: [{law}]": "cannot be loaded by engine tiny",
    }.items():
        tiny = "kind: Engine\nname: tiny\ncommand: [x]\n---\n"
        with pytest.raises(AssertionError, match=words):
            fleet(f"{tiny}kind: Model\nname: a\nsource: hf:o/x\n{text}")


def test_only_vllm_that_may_sleep_is_given_the_endpoints_for_it() -> None:
    """They are for development, so nothing else opens them; and a launch without them cannot be put to sleep."""
    for action, opened in (("sleep", True), ("stop", False)):
        made = launched(fleet(f"{BASE}engine: vllm\nidle_action: {action}"), gpus=(gpu(0),))
        assert isinstance(made, Launch)
        assert (made.env.get("VLLM_SERVER_DEV_MODE") == "1", made.sleeper is not None) == (opened, opened)


def test_the_idle_action_is_live() -> None:
    """A change of it restarts nothing."""
    sleep, stop = (fleet(f"{BASE}engine: vllm\nidle_action: {word}").workloads["a"] for word in ("sleep", "stop"))
    assert sleep.fingerprint == stop.fingerprint
    assert sleep.live != stop.live


def contained(of: str, *, gpus: tuple[Gpu, ...] = (), weights: str = "/cache/it") -> tuple[str, Container]:
    made = launched(fleet(of), gpus=gpus, weights=weights, programs={})
    assert isinstance(made, Launch), made
    assert made.runtime == "docker"
    assert made.container is not None
    return " ".join(made.argv), made.container


def test_a_model_in_a_container_listens_everywhere_within_and_sees_its_files_as_they_are():
    argv, container = contained("kind: Model\nname: demo\nsource: file:/m/a.gguf\ngpus: 0\nruntime: docker")
    assert argv == "/app/llama-server --model /m/a.gguf --alias demo --host 0.0.0.0 --port 9000 --metrics -np 1 -ngl 0"
    mounts = (Mount(source="/m/a.gguf", target="/m/a.gguf"),)
    assert container == Container(image="ghcr.io/ggml-org/llama.cpp:server", mounts=mounts, shm=4 * GIB)


def test_a_model_in_parts_has_all_of_them():
    _, container = contained("kind: Model\nname: demo\nsource: file:/m/a-00001-of-00002.gguf\ngpus: 0\nruntime: docker")
    assert container.mounts == (Mount(source="/m", target="/m"),)


KEPT = Mount(source="holdfast-cache", target="/holdfast/cache", writable=True)
REPOSITORY = "/cache/hub/models--org--repo"


@pytest.mark.parametrize("file", ["", "/q4/a-00001-of-00002.gguf"])
def test_weights_of_a_hub_are_seen_in_a_container_with_what_their_links_lead_to(file: str):
    text = f"kind: Model\nname: chat\nsource: hf:org/repo{file}\ngpus: 0\nengine: llamacpp\nruntime: docker"
    argv, container = contained(text, weights=f"{REPOSITORY}/snapshots/abc{file}")
    assert f" --model {REPOSITORY}/snapshots/abc{file} " in argv
    assert container.mounts == (Mount(source=REPOSITORY, target=REPOSITORY),)


def test_what_is_compiled_in_a_container_is_kept_in_a_volume():
    text = "kind: Model\nname: chat\nsource: hf:org/repo\nengine: vllm\ngpus: 1\nruntime: docker"
    argv, container = contained(text, gpus=(gpu(0),))
    assert argv.startswith("vllm serve /cache/it --host 0.0.0.0 --port 9000")
    assert container.image == "vllm/vllm-openai:latest"
    assert container.mounts == (Mount(source="/cache/it", target="/cache/it"), KEPT)
    made = launched(fleet(text), gpus=(gpu(0),), node=Node(name="local", cache=Cache(path="/weights")))
    assert isinstance(made, Launch)
    assert (made.env["HF_HOME"], made.env["XDG_CACHE_HOME"]) == ("/holdfast/cache/huggingface", "/holdfast/cache")


def test_a_service_in_a_container_has_what_it_declares_and_may_leave_its_command_to_the_image():
    argv, container = contained(
        "kind: Service\nname: db\nport: 6333\nruntime: {docker: {image: 'qdrant/qdrant:v1', shm_size: 64MiB, "
        "volumes: ['/data:/qdrant', 'etc:/etc/qdrant:ro']}}"
    )
    assert not argv
    mounts = (Mount(source="etc", target="/etc/qdrant"), Mount(source="/data", target="/qdrant", writable=True))
    assert container == Container(image="qdrant/qdrant:v1", mounts=mounts, shm=64 * 2**20)


def test_models_of_an_engine_with_an_image_run_in_it_unless_they_say_otherwise():
    engine = "kind: Engine\nname: mine\ncommand: [serve, '{source}', '{port}']\ncpu: true\nimage: mine:1\n---\n"
    model = "kind: Model\nname: a\nsource: hf:o/r\nengine: mine\ngpus: 0\n"
    assert contained(engine + model)[1].image == "mine:1"
    assert contained(engine + model + "runtime: {docker: {image: 'other:2'}}")[1].image == "other:2"
    made = launched(fleet(engine + model + "runtime: process"))
    assert isinstance(made, Launch)
    assert (made.runtime, made.container) == ("process", None)


def test_a_unit_has_the_memory_and_the_grace_that_its_file_says_and_a_cache_of_its_own():
    of = "kind: Service\nname: db\ncommand: [db]\nruntime: systemd\nmemory: 2GiB\nupdate: {grace: 3s}"
    workload = fleet(of).workloads["db"]
    made = engines.launch(
        workload,
        slot="db/0",
        run=1,
        gpus=(),
        size=Size(host=2 * GIB, host_basis="declared"),
        port=None,
        strikes=Strikes(),
        host=HOST,
        node=Node(name="local", cache=Cache(path="/data")),
    )
    assert isinstance(made, Launch)
    assert made.unit == Unit(memory=2 * GIB, grace=3.0)
    assert made.runtime == "systemd"
    assert made.env == {}, "what others fetched it may read, and write nowhere but at home"
