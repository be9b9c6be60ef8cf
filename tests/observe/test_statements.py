"""Where the driver does not tell whose memory is whose, what engines state in their logs replaces the estimate."""

import threading
from dataclasses import replace

import pytest

from reconciler.act.logs import HEAD, Reader
from reconciler.desk import keep, read_kept
from reconciler.model.memory import Memory
from reconciler.model.observation import Holder, NotReady, Ready, Running
from reconciler.model.plan import Start
from reconciler.observe.gather import Look
from reconciler.observe.statements import Statements
from reconciler.plan.settle import lasting, settled
from tests.eventually import eventually
from tests.observe.sights import launch
from tests.plan.stories import cards, headers, model
from tests.plan.world import GIB, HOST, decide, fleet, gpu, instance, machine

MIB = 2**20
CHAT = model("chat", None)
ANOTHER = model("chat", None, "context: 4096\n")
SAYS = b"""\
0.00.500.000 I srv    load_model: loading model '/models/chat.gguf'
0.00.900.000 I load_tensors:   CPU_Mapped model buffer size =   281.81 MiB
0.00.900.001 I load_tensors:        CUDA0 model buffer size =  3000.00 MiB
0.01.100.000 I llama_kv_cache:      CUDA0 KV buffer size =   512.00 MiB
0.01.200.000 I sched_reserve:      CUDA0 compute buffer size =    60.00 MiB
"""
CARD = gpu(0, 24, used=4, holders=(Holder(pid=4000, name="llama-server", memory=0),))
"""As in a container: the driver lists who is there, and not how much of it is whose."""


class Probes:
    """A prober that has seen every instance ready, or not yet."""

    def __init__(self):
        self.ready = True
        self.since = 5.0

    def watch(self, instance): ...
    def forget(self, slot): ...
    def end(self, slot, run): ...

    def readiness(self, slot):
        return (Ready(since=self.since), True) if self.ready else (NotReady(), False)


class Box:
    """A machine with one card and a state directory, on which chat/0 runs."""

    def __init__(self, tmp_path, log=SAYS, card=CARD):
        self.folder = tmp_path / "logs" / "chat.0"
        self.folder.mkdir(parents=True)
        self.writes(1, log)
        self.kept = str(tmp_path / "memory.json")
        self.runs: dict[str, object] = {}
        self.reads: list[tuple[str, int]] = []
        self.reader = Reader(str(tmp_path))
        self.probes = Probes()
        self.statements = Statements(self.read)
        self.look = Look(
            instances=lambda: self.runs,  # pyright: ignore[reportArgumentType] - instances
            gpus=lambda: (card,),
            host=lambda: HOST,
            ports=frozenset,
            prober=self.probes,  # pyright: ignore[reportArgumentType] - a recorder
            statements=self.statements,
        )
        self.starts(CHAT, 1)

    def writes(self, run, log):
        (self.folder / f"{run}.0.log").write_bytes(log)

    def starts(self, text, run):
        phase = Running(pid=4000, since=1.0, readiness=NotReady())
        self.runs["chat/0"] = instance(fleet(text), "chat/0", phase, run=run, port=9000, gpus=(gpu(0, 24),))
        self.look.changed("chat/0")

    def read(self, slot, run):
        self.reads.append((slot, run))
        return self.reader.head(slot, run)

    def reading(self):
        """Until all that is to be read has been."""
        eventually(lambda: not any(thread.name == "statements" for thread in threading.enumerate()))

    def learns(self, text=CHAT):
        """What memory has after two looks, by what is kept of it beyond the daemon's life."""
        self.look()
        self.reading()
        memory = settled(Memory(), fleet(text), self.look())
        if lasting(memory) != lasting(Memory()):
            keep(self.kept, memory)
        return read_kept(self.kept)


def started(memory: Memory, *, text=CHAT):
    """How the next start of it is sized."""
    on = replace(machine(gpus=cards(1)), weights={"file:/models/chat.gguf": headers(4)})
    (action,) = decide(fleet(text), on, memory=memory).actions
    assert isinstance(action, Start)
    return action.launch.basis, (action.launch.memory or 0) // MIB


def test_where_the_driver_tells_no_figure_that_of_the_log_takes_the_place_of_the_estimate(tmp_path):
    """With what the driver and its libraries take besides: 500 MiB, as the estimate has it."""
    memory = Box(tmp_path).learns()
    assert list(memory.stated.values()) == [3572 * MIB]
    assert memory.measured == {}
    assert started(Memory())[0] == "estimated"
    assert started(memory) == ("measured", 4072)
    assert started(memory, text=ANOTHER)[0] == "estimated", "other settings are another measure"


def test_the_driver_is_believed_before_the_log(tmp_path):
    """Less or more than the log says."""
    for name, held in (("less", 3.5), ("more", 5.0)):
        (tmp_path / name).mkdir()
        card = replace(CARD, holders=(Holder(pid=4000, name="llama-server", memory=int(held * GIB)),))
        box = Box(tmp_path / name, card=card)
        box.look()
        box.reading()
        seen = box.look()
        named = replace(seen, gpus=(replace(card, holders=(replace(card.holders[0], slot="chat/0"),)),))
        memory = settled(Memory(), fleet(CHAT), named)
        assert memory.stated
        assert started(memory) == ("measured", int(held * 1024))


def test_a_log_is_read_once_for_each_run_when_that_becomes_ready(tmp_path):
    """Not while it loads, not in every pass, not when it was away for a moment."""
    box = Box(tmp_path)
    box.probes.ready = False
    box.look()
    assert box.reads == []
    for ready in (True, True, False, True):
        box.probes.ready = ready
        box.probes.since += 1.0
        box.look.changed("chat/0")
        box.look()
        box.reading()
    assert box.reads == [("chat/0", 1)]
    box.writes(2, SAYS)
    box.starts(CHAT, 2)
    box.look()
    box.reading()
    assert box.reads == [("chat/0", 1), ("chat/0", 2)]


def test_what_an_earlier_run_said_is_not_said_of_the_next(tmp_path):
    """Nor of one that is gone."""
    box = Box(tmp_path)
    box.learns()
    assert box.look().stated == {"chat/0": 3572 * MIB}
    box.starts(ANOTHER, 2)  # its log does not exist
    assert box.look().stated == {}
    box.reading()
    assert box.look().stated == {}
    del box.runs["chat/0"]
    assert box.look().stated == {}
    assert box.statements() == {}


@pytest.mark.parametrize(
    "log",
    [
        b"",
        SAYS.replace(b"compute", b"other"),
        SAYS.replace(b"3000.00", b"999999999.00"),
        SAYS.replace(b"3000.00", b"9" * 5000),
        SAYS.replace(b"CUDA0", b"CUDA7"),
        SAYS.replace(b"\n", b"\0"),
        b"\xff\xfe" * 9999,
        b"x" * 2 * HEAD + b"\n" + SAYS,
        b"llama " * HEAD,
    ],
)
def test_a_log_that_makes_no_sense_teaches_nothing(tmp_path, log):
    """Whatever an engine, or a model's name in its log, says."""
    assert Box(tmp_path, log).learns().stated == {}


def test_a_start_is_found_before_any_flood(tmp_path):
    """What comes after does not matter."""
    assert Box(tmp_path, SAYS + b"slot print_timing: id 0\n" * 99_999).learns().stated


def test_a_disk_that_hangs_holds_up_nobody(tmp_path):
    """Looks go on, and others' logs wait."""
    freed = threading.Event()
    told = []

    def log(slot: str, run: int) -> bytes:
        freed.wait(60)
        return SAYS

    statements = Statements(log, lambda: told.append(1))
    statements.ready(launch("a/0", gpus=("GPU-0",)))
    statements.ready(launch("b/0", gpus=("GPU-0",)))
    statements.ready(launch("cpu/0"))
    assert statements() == {}
    statements.forget("b/0")
    freed.set()
    eventually(lambda: statements() == {"a/0": 3572 * MIB})
    eventually(lambda: not any(thread.name == "statements" for thread in threading.enumerate()))
    assert told
    assert statements() == {"a/0": 3572 * MIB}
