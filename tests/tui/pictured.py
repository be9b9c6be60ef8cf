"""The machine on the pictures in docs/: four cards, nine workloads, each as it may be found on a usual day.

How they do is what the real planner says of what is declared and seen here; only figures and logs are made up.
"""

import math
from dataclasses import replace

from reconciler.model.answers import About, Launched, Run, Written
from reconciler.model.bench import Answer
from reconciler.model.facts import Road
from reconciler.model.fleet import Fleet
from reconciler.model.live import HostMeters, Live
from reconciler.model.memory import Memory
from reconciler.model.metrics import Histogram, Metrics, ReplicaMetrics
from reconciler.model.observation import (
    NOBODY,
    Exited,
    Gpu,
    Holder,
    Instance,
    NotReady,
    Observation,
    Phase,
    Ready,
    Running,
    Unknown,
    Wish,
)
from reconciler.model.plan import Strikes
from reconciler.model.routing import Traffic, Wanted
from reconciler.model.source import Revision
from reconciler.model.status import Event, GatewayStatus, Meters, Reason, Status
from reconciler.model.stored import Fetching
from reconciler.plan.road import road
from reconciler.plan.summary import Pass, summarise
from tests.plan.world import GIB, HOST, NOW, ahead_of, decide, fleet, gpu, instance, machine
from tui.view.chat import Turn
from tui.view.world import Machine, Past, World

WALL = 1_795_258_800.0
"""21 November 2026, 11:00 UTC."""
TICKS = 120
CARD = 45.0
"""GiB of an L40S."""
DOCUMENTS = {
    "chat": """\
kind: Model
name: chat
source: hf:Qwen/Qwen3-32B-AWQ
labels: {team: assistants}
engine: vllm
gpus: 1
memory: 38GiB
context: 16384
replicas: 2
priority: 300
aliases: [assistant]
env:
  HF_TOKEN: {secret: hf-token}
args: [--max-num-seqs, "64"]      # measured: more only queue
""",
    "coder": """\
kind: Model
name: coder
source: hf:Qwen/Qwen2.5-Coder-14B-Instruct
labels: {team: assistants}
engine: vllm
gpus: 1
memory: 34GiB
context: 32768
priority: 200
""",
    "embed": """\
kind: Model
name: embed
source: hf:BAAI/bge-m3
labels: {team: search}
engine: vllm
gpus: 1
memory: 5GiB
priority: 200
""",
    "vision": """\
kind: Model
name: vision
source: hf:Qwen/Qwen2.5-VL-7B-Instruct
labels: {team: research}
engine: vllm
gpus: 1
memory: 20GiB
context: 8192
""",
    "summary": """\
kind: Model
name: summary
source: hf:bartowski/google_gemma-3-4b-it-GGUF/google_gemma-3-4b-it-Q4_K_M.gguf
labels: {team: search}
gpus: 1
memory: 5GiB
context: 8192
""",
    "large": """\
kind: Model
name: large
source: hf:meta-llama/Llama-3.3-70B-Instruct
labels: {team: research}
engine: vllm
gpus: 2
memory: 42GiB
""",
    "night": """\
kind: Model
name: night
source: hf:unsloth/phi-4-GGUF/phi-4-Q4_K_M.gguf
labels: {team: research}
gpus: 0
memory: 12GiB
replicas: {min: 0, max: 1, idle: 10m}
""",
    "rerank": """\
kind: Model
name: rerank
source: hf:BAAI/bge-reranker-v2-m3
labels: {team: search}
engine: vllm
gpus: 1
memory: 4GiB
""",
    "notes": """\
kind: Service
name: notes
command: [python3, -m, http.server, "{port}", --bind, 127.0.0.1]
directory: /srv/notes
""",
}
SHORT = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.42 GiB"
PIDS = {"chat/0": 4102, "chat/1": 4177, "coder/0": 4230, "embed/0": 4391, "notes/0": 3815}
HELD = {"chat/0": (0, 37.6), "chat/1": (1, 37.5), "coder/0": (2, 33.2), "embed/0": (2, 4.7), "summary/0": (3, 3.1)}
"""By slot: on which card, and how much of it."""


def declared(**instead: str) -> Fleet:
    """The fleet; `instead`: documents that say something else."""
    of = fleet("---\n".join(instead.get(name, text) for name, text in DOCUMENTS.items()))
    return replace(of, revision=Revision(commit="3f2a9c1" + "0" * 33, dirty=bool(instead)))


def card(index: int) -> Gpu:
    """With ours, and the job of a student on the last."""
    ours = [
        Holder(pid=PIDS.get(slot, 21877), name="python", memory=int(held * GIB), slot=slot)
        for slot, (where, held) in HELD.items()
        if where == index
    ]
    others = [Holder(pid=7714, name="python", memory=int(18.6 * GIB))] if index == 3 else []
    used = sum(each.memory for each in (*ours, *others)) / GIB + 0.4
    return gpu(index, CARD, used, (*ours, *others), model="L40S")


def observation(of: Fleet) -> Observation:
    """What is seen of a fleet as it runs before an edit."""
    gpus = tuple(map(card, range(4)))

    def made(slot: str, port: int, *on: int, phase: Phase | None = None, run: int = 1) -> Instance:
        began = NOW - 9400 - PIDS.get(slot, 0)
        ready = Running(pid=PIDS.get(slot, 0), since=began, readiness=Ready(since=began + 48), was_ready=True)
        strikes = Strikes(count=4, spared=True) if isinstance(phase, Exited) else Strikes()
        return instance(
            of, slot, phase or ready, port=port, gpus=tuple(gpus[index] for index in on), run=run, strikes=strikes
        )

    loading = Running(pid=21877, since=NOW - 9, readiness=NotReady(detail="loading model"))
    fallen = Exited(at=NOW - 3, began=NOW - 61, code=1, detail=SHORT)
    on = machine(
        made("chat/0", 9000, 0),
        made("chat/1", 9001, 1),
        made("coder/0", 9002, 2),
        made("embed/0", 9003, 2),
        made("vision/0", 9004, 3, phase=fallen, run=5),
        made("summary/0", 9005, 3, phase=loading),
        made("notes/0", 9006),
        gpus=gpus,
        host=replace(HOST, name="gpu1", cpus=64, memory=256 * GIB, available=171 * GIB),
    )
    return replace(on, sources={"hf:BAAI/bge-reranker-v2-m3": Fetching(slot="rerank/0", done=GIB, total=2 * GIB)})


def said(of: Fleet, on: Observation, memory: Memory | None = None) -> tuple[Status, Road]:
    """What the daemon says after a pass that saw this."""
    known, demand = memory or Memory(), {NOBODY: Wish()}
    looked = Pass(fleet=of, observation=on, demand=demand, plan=decide(of, on, memory=known, demand=demand), now=NOW)
    status = summarise(looked, known).status
    rows = {
        name: replace(
            row,
            replicas=tuple(replace(each, basis="declared" if each.memory else "") for each in row.replicas),
        )
        for name, row in status.workloads.items()
    }
    gateway = GatewayStatus(connected=True, listen=("http://127.0.0.1:8642",))
    return replace(status, workloads=rows, gateway=gateway), ahead_of(of, on, road(of, on, demand, known, NOW), known)


# -- what changes from second to second


def _wave(tick: int, *, about: float, by: float, every: float) -> float:
    """Up and down about a figure, never twice the same."""
    turn = tick / every * math.tau
    return about + by * (0.6 * math.sin(turn) + 0.4 * math.sin(2.7 * turn + 1))


_TRAFFIC = {"chat": (11.0, 4.0, 61), "coder": (3.4, 1.6, 44), "embed": (38.0, 12.0, 37)}
_TOKENS = {"chat": 172, "coder": 240, "embed": 0}


def live(tick: int) -> Live:
    """What its meters say at that second."""
    traffic: dict[str, Wanted] = {}
    for name, (about, by, every) in _TRAFFIC.items():
        requests = max(0.0, _wave(tick, about=about, by=by, every=every))
        flying = {slot: round(requests * 0.7) for slot in HELD if slot.startswith(name)}
        traffic[name] = Wanted(
            waiting=2 if name == "chat" and requests > 14 else 0,
            in_flight=flying,
            traffic=Traffic(
                requests=requests,
                tokens=requests * _TOKENS[name],
                errors=0.0,
                first_byte=0.06 + requests / 90,
                total=90_000 + 11 * tick,
            ),
        )
    meters: dict[str, Meters] = {}
    for index, (about, by) in enumerate(((82, 14), (78, 15), (61, 20), (93, 4))):
        busy = round(min(100, max(0, _wave(tick + 17 * index, about=about, by=by, every=40 + 6 * index))))
        meters[f"GPU-{index}"] = Meters(
            at=NOW + tick - TICKS, busy=busy, celsius=38 + busy // 3, watts=95.0 + busy * 2.3, mhz=2520, ecc=0
        )
    busy = _wave(tick, about=21, by=6, every=50)
    host = HostMeters(busy=busy, cores=64, memory=256 * GIB, used=85 * GIB, load=busy * 0.7)
    return Live(now=NOW + tick - TICKS, meters=meters, traffic=traffic, host=host)


def _events(*told: tuple[float, str, Reason, str]) -> tuple[Event, ...]:
    """Each: seconds ago, of whom, the reason, in words."""
    grave = {"exited": "error", "starting, gpu 3, port 9004: exited": "warning"}
    return tuple(
        Event(
            seq=seq,
            at=WALL - ago,
            subject=subject,
            reason=reason,
            message=message,
            severity=next((word for begin, word in grave.items() if message.startswith(begin)), "info"),  # type: ignore[arg-type]
        )
        for seq, (ago, subject, reason, message) in enumerate(told, start=1)
    )


EVENTS = _events(
    (9400, "daemon", Reason.Recovered, "took up 5 instances that were running"),
    (9398, "gateway", Reason.Ready, "connected, listening on http://127.0.0.1:8642"),
    (3127, "chat", Reason.SpecChanged, "updating: aliases none → assistant"),
    (1290, "vision/0", Reason.NotRunning, "starting, gpu 3, port 9004"),
    (1232, "vision/0", Reason.Exited, f"exited with status 1 after 58s ({SHORT})"),
    (1231, "vision/0", Reason.Exited, "starting, gpu 3, port 9004: exited with status 1"),
    (1172, "vision/0", Reason.Exited, f"exited with status 1 after 58s ({SHORT})"),
    (611, "night/0", Reason.Idle, "stopping: nobody asked for 10m"),
    (610, "night/0", Reason.Exited, "was stopped: Idle"),
    (244, "rerank", Reason.NotFetched, "fetching hf:BAAI/bge-reranker-v2-m3, 2.0 GiB"),
    (61, "vision/0", Reason.BackingOff, "starting, gpu 3, port 9004: exited with status 1"),
    (9, "summary/0", Reason.NotRunning, "starting, gpu 3, port 9005"),
    (8, "summary/0", Reason.Starting, "is running as pid 21877"),
    (3, "vision/0", Reason.Exited, f"exited with status 1 after 58s ({SHORT})"),
)


def world(status: Status) -> World:
    """It, as it was watched for two minutes."""
    past = Past()
    held = {each.uuid: each.used for each in status.gpus}
    for tick in range(TICKS):
        past.add(live(tick), held)
    here = Machine(name="", status=status, live=live(TICKS), events=EVENTS, past=past)
    return World(machines={"": here}, wall=WALL)


# -- what is asked of the daemon


def about(of: Fleet, on: Observation, name: str) -> About:
    """What is written of it, what it was started from, how its runs ended."""
    instances = [] if isinstance(on.instances, Unknown) else list(on.instances.values())
    launches = [one.launch for one in instances if one.slot.startswith(f"{name}/")]
    runs = (
        Run(
            slot="vision/0",
            run=5,
            began=WALL - 61,
            ended=WALL - 3,
            outcome="exited with status 1",
            first_failure=False,
            size=len(CRASH),
        ),
        Run(
            slot="vision/0",
            run=1,
            began=WALL - 1290,
            ended=WALL - 1232,
            outcome="exited with status 1",
            first_failure=True,
            size=len(CRASH),
        ),
    )
    return About(
        name=name,
        written=(Written(path=of.workloads[name].source.path, line=1, text=DOCUMENTS[name]),),
        launches=tuple(
            Launched(
                slot=each.slot, run=each.run, engine=each.engine, runtime=each.runtime, argv=each.argv,
                gpus=each.indices, port=each.port, env={key: str(value) for key, value in each.env.items()},
            )
            for each in launches
        ),
        runs=runs if name == "vision" else (),
    )  # fmt: skip


def metrics() -> tuple[ReplicaMetrics, ...]:
    """What vLLM measures of `chat`."""
    return tuple(
        ReplicaMetrics(
            slot=f"chat/{index}",
            engine="vllm",
            metrics=Metrics(
                running=7 - index,
                waiting=index,
                cache=0.41 - index * 0.06,
                prompt_tokens=48_200_113 - index * 812_331,
                generated_tokens=16_071_440 - index * 240_187,
                first_token=Histogram(count=90_000, sum=90_000 * 0.171),
                next_token=Histogram(count=16_000_000, sum=16_000_000 * 0.0213),
                request=Histogram(count=90_000, sum=90_000 * 3.9),
            ),
        )
        for index in range(2)
    )


CHAT = "".join(
    f"INFO 11-21 10:{58 + (20 + turn * 10) // 60}:{(20 + turn * 10) % 60:02} [loggers.py:257] Engine 000: Avg prompt "
    f"throughput: {1810 + 37 * turn}.4 tokens/s, Avg generation throughput: {930 + 29 * turn}.1 tokens/s, Running: "
    f"{5 + turn % 3} reqs, Waiting: 0 reqs, GPU KV cache usage: {38 + turn % 4}.2%, Prefix cache hit rate: 61.3%\n"
    for turn in range(10)
)
CRASH = """\
INFO 11-21 10:59:01 [__init__.py:241] Automatically detected platform cuda.
INFO 11-21 10:59:08 [api_server.py:1896] vLLM API server version 0.11.2
INFO 11-21 10:59:09 [__init__.py:742] Resolved architecture: Qwen2_5_VLForConditionalGeneration
INFO 11-21 10:59:09 [__init__.py:1815] Using max model len 8192
INFO 11-21 10:59:10 [scheduler.py:222] Chunked prefill is enabled with max_num_batched_tokens=8192.
INFO 11-21 10:59:16 [core.py:654] Waiting for init message from front-end.
INFO 11-21 10:59:19 [gpu_model_runner.py:2338] Starting to load model Qwen/Qwen2.5-VL-7B-Instruct...
INFO 11-21 10:59:38 [default_loader.py:268] Loading weights took 18.41 seconds
INFO 11-21 10:59:39 [gpu_model_runner.py:2392] Model loading took 15.6270 GiB and 19.020173 seconds
INFO 11-21 10:59:39 [gpu_model_runner.py:3000] Encoder cache will be initialized with a budget of 114688 tokens
WARNING 11-21 10:59:40 [registry.py:195] The image processor is the slow one; set use_fast=True to take the other
ERROR 11-21 10:59:56 [core.py:718] EngineCore failed to start.
ERROR 11-21 10:59:56 [core.py:718] Traceback (most recent call last):
ERROR 11-21 10:59:56 [core.py:718]   File "vllm/v1/engine/core.py", line 709, in run_engine_core
ERROR 11-21 10:59:56 [core.py:718]     engine_core = EngineCoreProc(*args, **kwargs)
ERROR 11-21 10:59:56 [core.py:718]   File "vllm/v1/worker/gpu_model_runner.py", line 3041, in profile_run
ERROR 11-21 10:59:56 [core.py:718]     dummy_encoder_outputs = self.model.get_multimodal_embeddings(
ERROR 11-21 10:59:56 [core.py:718]   File "vllm/model_executor/models/qwen2_5_vl.py", line 612, in forward
ERROR 11-21 10:59:56 [core.py:718]     q, k = apply_rotary_pos_emb_vision(qk_concat, rotary_pos_emb)
ERROR 11-21 10:59:56 [core.py:718] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.42 GiB. GPU 0 has a \
total capacity of 44.42 GiB of which 2.19 GiB is free. Process 7714 has 18.60 GiB memory in use.
"""
ASKED = "Which model would you choose to classify support mail, and why?"
ANSWER = """\
For **classification** you rarely need the largest model:

1. Start with an *embedding* model and a linear classifier: 10,000 mails cost seconds.
2. Where classes change every week, ask a 14B model with a fixed list of labels:

```python
reply = client.chat.completions.create(
    model="coder", messages=[{"role": "user", "content": prompt}], max_tokens=4, temperature=0
)
```

Measure both on the same hundred mails before you decide.
"""
TURN = Turn(
    question=ASKED,
    answer=ANSWER,
    ended=True,
    measured=Answer(first=0.18, last=3.31, took=3.32, read=24, written=131),
)
EDITED = {
    "chat": DOCUMENTS["chat"].replace("context: 16384", "context: 32768"),
    "vision": DOCUMENTS["vision"].replace("context: 8192", "context: 4096"),
}
"""The edit whose plan is looked at."""
LOGS = {"chat/0": CHAT.encode(), "chat/1": CHAT.encode(), "vision/0": CRASH.encode()}
