"""B8: 10,000 spec files → validated plan, cold; and one changed file of them.

Cold is a loader that knows of no file; the files are in the page cache, and the modules are imported.
"""

import gc
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import ryaml
import yaml

from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.observation import Host, Instance, Observation, Ready, Running, healthy_of
from reconciler.model.plan import Plan, Start
from reconciler.plan.planner import plan
from reconciler.spec.load import Loader
from tests.bench.rows import Row

GIB = 2**30
_loads = ryaml.loads  # pyright: ignore[reportPrivateImportUsage]
HOST = Host(
    name="box", cpus=64, memory=512 * GIB, available=500 * GIB, programs={"llama-server": "/usr/bin/llama-server"}
)
NODE = "kind: Node\nname: local\nports: 10000-65000\n"
CHAT = """\
# yaml-language-server: $schema=../../schemas/fleet.schema.json
# Chat for team {team}. Ask platform@example.com before you raise its priority above others.
kind: Model
name: chat-{index:05}
source: hf:Qwen/Qwen3-8B-Instruct-GGUF/releases/{commit}/qwen3-8b-q{quant}_0.gguf
engine: llamacpp
gpus: 0
context: {context}
parallel: {parallel}
kv_cache_dtype: q8_0
args: [--threads, {threads}, --metrics, --no-webui]
env:
  HF_TOKEN: {{secret: hf-token}}
  LLAMA_LOG_VERBOSITY: "1"
replicas: {replicas}
priority: {priority}
aliases: [chat-{index:05}-latest]
labels: {{team: "{team}", tier: gold}}
"""
EMBED = """\
# yaml-language-server: $schema=../../schemas/fleet.schema.json
# Embeddings of team {team}; the index of their documents depends on this very model and its pooling, so
# a change here means a new index: tell them a week before.
kind: Model
name: embed-{index:05}
source: file:/srv/models/bge-m3-{commit}-q{quant}_0.gguf
gpus: 0
context: {context}
parallel: {parallel}
args: [--embeddings, --pooling, cls, --threads, {threads}]
priority: {priority}
health: {{interval: 10s, failures: 5}}
update: {{drain: 30s}}
labels: {{team: "{team}", index: documents-{index:05}}}
"""
SERVICE = """\
# yaml-language-server: $schema=../../schemas/fleet.schema.json
# Vector store of team {team}. Its data is on the local disk of this machine and is copied every night at 02:00.
kind: Service
name: store-{index:05}
command: [/usr/bin/qdrant, --port, "{{port}}", --config-path, /etc/qdrant/team-{team}-{commit}.yaml]
env:
  QDRANT__STORAGE__STORAGE_PATH: /srv/qdrant/{index:05}
  QDRANT__LOG_LEVEL: WARN
health: {{path: /readyz, interval: 5s, start: 2m}}
priority: {priority}
labels: {{team: "{team}", tier: silver}}
"""


def document(index: int) -> str:
    """One of three kinds of file, no two alike."""
    return (CHAT, EMBED, SERVICE)[index % 3].format(
        index=index,
        team=index % 97,
        commit=hashlib.sha1(str(index).encode()).hexdigest(),
        quant=(4, 5, 8)[index % 3],
        context=1024 * (1 + index % 32),
        parallel=1 + index % 8,
        threads=1 + index % 16,
        replicas=1 + index % 2,
        priority=100 + index % 300,
    )


def fill(root: Path, count: int) -> list[str]:
    """Write the fleet; the paths of its files."""
    texts = {f"team-{index % 50:02}/m{index:05}.yaml": document(index) for index in range(count - 1)}
    texts["node.yaml"] = NODE
    for path, text in texts.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    return [str(root / path) for path in texts]


def decide(fleet: Fleet, instances: Mapping[str, Instance]) -> Plan:
    observation = Observation(host=HOST, instances=instances, healthy=healthy_of(instances))
    return plan(fleet, observation, {}, Memory(), 1000.0)


def healthy(decided: Plan) -> dict[str, Instance]:
    """Everything that the plan starts, running and ready."""
    phase = Running(pid=1, since=0.0, readiness=Ready(since=1.0), was_ready=True)
    return {
        action.slot: Instance(slot=action.slot, launch=action.launch, phase=phase)
        for action in decided.actions
        if isinstance(action, Start)
    }


def took(what: Callable[[], object]) -> float:
    """CPU seconds: nothing here waits for anything, and other processes do not count."""
    begun = time.process_time()
    what()
    return time.process_time() - begun


def read_all(paths: list[str], use: Callable[[bytes], object]) -> None:
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        use(os.read(fd, 300_000))
        os.close(fd)


class _Split(NamedTuple):
    """CPU seconds of one pass."""

    load: float
    plan: float

    @property
    def all(self) -> float:
        return self.load + self.plan


def _middle(passes: list[_Split]) -> _Split:
    """The median pass, as a whole: its parts add up."""
    return sorted(passes, key=lambda one: one.all)[len(passes) // 2]


def rows(quick: bool) -> list[Row]:
    """Cold and warm, with peers in between."""
    count, passes = (500, 2) if quick else (10_000, 5)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "fleet.d"
        root.mkdir()
        paths = fill(root, count)
        cold, peers = _cold(root, paths, passes)
        change = _change(root, count, 5 * passes)
    files = f"{count:,} files"
    return [
        Row(
            bench="B8",
            measure=f"{files}, cold: load and plan, CPU s",
            ours=cold.all,
            peer=peers["csafe"],
            peer_name="CSafeLoader alone",
            target="<= 0.8",
            good=None if quick else cold.all <= 0.8,
        ),
        _part(f"{files}, cold: of it the load, CPU s", cold.load, peers["ryaml"], "ryaml alone"),
        _part(f"{files}, cold: of it the plan, CPU s", cold.plan),
        _part(f"{files}: read and hashed, CPU s (the floor)", peers["hash"]),
        Row(
            bench="B8",
            measure=f"one of {files} changed: load and plan, CPU ms",
            ours=change.all * 1e3,
            target="<= 5",
            good=None if quick else change.all <= 0.005,
        ),
        _part(f"one of {files} changed: of it the load, CPU ms", change.load * 1e3),
        _part(f"one of {files} changed: of it the plan, CPU ms", change.plan * 1e3),
    ]


def _part(measure: str, ours: float, peer: float | None = None, peer_name: str = "") -> Row:
    """A figure without a target of its own."""
    return Row(bench="B8", measure=measure, ours=ours, peer=peer, peer_name=peer_name, target="", good=None)


def _cold(root: Path, paths: list[str], passes: int) -> tuple[_Split, dict[str, float]]:
    """Ours and the medians of peers, CPU seconds, of passes that take turns."""
    ours: list[_Split] = []
    times: dict[str, list[float]] = {name: [] for name in ("csafe", "ryaml", "hash")}
    for _ in range(passes):
        loader = Loader(str(root), clock=time.monotonic)
        begun = time.process_time()
        fleet = loader.load().fleet
        loaded = time.process_time()
        decided = decide(fleet, {})
        ours.append(_Split(loaded - begun, time.process_time() - loaded))
        if fleet.problems or decided.blocked or len(decided.actions) != len(fleet.slots):
            raise RuntimeError(f"not all could be planned: {fleet.problems[:1]} {decided.blocked[:1]}")
        del loader, fleet, decided
        gc.unfreeze()  # the loader froze what it made, as is right where it is the only one
        gc.collect()
        times["csafe"].append(took(lambda: read_all(paths, lambda data: yaml.load(data, yaml.CSafeLoader))))
        times["ryaml"].append(took(lambda: read_all(paths, lambda data: _loads(data.decode()))))
        times["hash"].append(took(lambda: read_all(paths, lambda data: hashlib.blake2b(data).digest())))
    return _middle(ours), {name: statistics.median(found) for name, found in times.items()}


def _change(root: Path, count: int, passes: int) -> _Split:
    """CPU seconds from the hint to the plan, in a fleet where all else is healthy."""
    loader = Loader(str(root), clock=time.monotonic)
    instances = healthy(decide(loader.load().fleet, {}))
    observation = Observation(host=HOST, instances=instances, healthy=healthy_of(instances))
    ours: list[_Split] = []
    for turn in range(passes):
        index = 3 * (turn * 37 % (count // 3))
        path = f"team-{index % 50:02}/m{index:05}.yaml"
        text = (root / path).read_text()
        (root / path).write_text(text.replace("kv_cache_dtype: q8_0", f"kv_cache_dtype: q{turn}_1"))
        loader.touch(frozenset({path}))
        begun = time.process_time()
        fleet = loader.load().fleet
        loaded = time.process_time()
        decided = plan(fleet, observation, {}, Memory(), 1000.0)
        ours.append(_Split(loaded - begun, time.process_time() - loaded))
        if {action.slot.partition("/")[0] for action in decided.actions} != {f"chat-{index:05}"}:
            raise RuntimeError(f"one change, but the plan is {str(decided)[:200]}")
        loader.touch(frozenset({path}))
        (root / path).write_text(text)
        loader.load()
    return _middle(ours)
