"""Golden: the command lines that engines are started with."""

from dataclasses import replace

import pytest

from reconciler import engines
from reconciler.model.fleet import Fleet
from reconciler.model.kinds import Cache, Node
from reconciler.model.observation import Gpu
from reconciler.model.plan import Launch, Size, Strikes
from reconciler.model.status import Reason
from tests.plan.world import GIB, HOST, fleet, gpu


def launched(
    of: Fleet, *, gpus: tuple[Gpu, ...] = (), programs: dict[str, str] | None = None, node: Node | None = None
) -> Launch | engines.Refusal:
    workload = next(iter(of.workloads.values()))
    host = HOST if programs is None else replace(HOST, programs=programs)
    return engines.launch(
        workload,
        slot=f"{workload.name}/0",
        run=1,
        gpus=gpus,
        size=Size(gpus=len(gpus), memory=workload.needs.memory),
        port=9000,
        strikes=Strikes(),
        host=host,
        node=node or Node(name="local"),
        weights="/cache/it",
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
        "--port 9000 -np 2 -ngl 0 -c 512",
    ),
    "llama-server from PATH on a gpu": (
        "kind: Model\nname: demo\nsource: file:/m/a.gguf\ngpus: 1\nkv_cache_dtype: q8_0\n"
        "adapters: [{name: sql, source: 'file:/m/sql.gguf'}]\nargs: [--metrics, --seed, 7]",
        (gpu(0),),
        None,
        "/usr/bin/llama-server --model /m/a.gguf --alias demo --host 127.0.0.1 --port 9000 -np 1 -ngl 999 --fit off "
        "-ctk q8_0 -ctv q8_0 --lora /m/sql.gguf --metrics --seed 7",
    ),
    "llama-server is told where its fetched file lies": (
        "kind: Model\nname: demo\nsource: hf:org/some-GGUF/q4.gguf",
        (gpu(0),),
        None,
        "/usr/bin/llama-server --model /cache/it --alias demo --host 127.0.0.1 --port 9000 -np 1 -ngl 999 --fit off",
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
    ("adapters", "offline"),
    [("[]", True), ("[{name: x, source: 'file:/x'}]", True), ("[{name: x, source: 'hf:o/x'}]", False)],
)
def test_vllm_asks_no_hub_where_all_is_here(adapters: str, offline: bool) -> None:
    made = launched(fleet(f"kind: Model\nname: a\nsource: hf:o/a\nadapters: {adapters}"), gpus=(gpu(0),))
    assert isinstance(made, Launch)
    assert (made.env.get("HF_HUB_OFFLINE") == "1") is offline


FETCHED = {
    "one file": ("source: hf:o/x/q4.gguf", "hf:o/x/q4.gguf"),
    "llama.cpp takes one file of a repository": ("source: hf:o/x-GGUF@main", "hf:o/x-GGUF@main/*.gguf"),
    "vllm takes a repository": ("source: modelscope:o/x", "modelscope:o/x"),
    "an address": ("source: https://h/x.gguf", "https://h/x.gguf"),
    "what is on this machine is not fetched": ("source: file:/x.gguf", None),
    "an engine that is told the source only fetches by itself": ("source: hf:o/x\nengine: own", None),
    "an engine that is told where weights lie": ("source: hf:o/x\nengine: told", "hf:o/x"),
}


@pytest.mark.parametrize("name", FETCHED)
def test_what_is_fetched_first(name: str) -> None:
    text, expected = FETCHED[name]
    engine = "kind: Engine\nname: {}\ncommand: [x, '{{{}}}']\n---\n"
    of = fleet(f"{engine.format('own', 'source')}{engine.format('told', 'weights')}kind: Model\nname: a\n{text}")
    assert engines.fetched(of.workloads["a"]) == expected


def test_files_that_must_be_there_are_named() -> None:
    made = launched(fleet("kind: Model\nname: a\nsource: file:m/a.gguf\nadapters: [{name: x, source: 'file:x.gguf'}]"))
    assert isinstance(made, Launch)
    assert made.files == ("/etc/fleet.d/m/a.gguf", "/etc/fleet.d/x.gguf")


REFUSED = {
    "vllm is not installed": ("kind: Model\nname: a\nsource: hf:o/x", {}, Reason.EngineMissing),
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
        assert (made.inference, made.model) == (60.0, name)


def test_what_no_engine_can_do_is_said_before_anything_is_placed() -> None:
    for text, words in {
        "engine: sglang": "cannot be sglang yet",
        "engine: nosuch": "nothing declares such an engine",
        "source: ollama:x:y": "cannot be ollama yet",
        "source: https://h/x\nengine: vllm": "cannot take https: sources with vllm",
        "params: {a: b}": "cannot take params with vllm",
        "idle_action: sleep\nengine: llamacpp": "cannot be sleep with engine llamacpp; choose stop, or engine vllm",
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


def test_adapters_that_cannot_be_loaded_are_said_before_anything_is_placed() -> None:
    law = "{name: law, source: 'hf:o/l'}"
    for text, words in {
        "adapters: [{name: x, source: 'hf:o/x@v2'}]": "cannot load x by revision or file; write hf:org/repo",
        "adapters: [{name: x, source: 'modelscope:o/x'}]": "cannot load x from modelscope: with this model",
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
