"""What is kept of the runs of a slot, and how each ended."""

from dataclasses import replace

import pytest

from reconciler.act.logfile import mark_first_failure
from reconciler.act.runs import Runs
from reconciler.model.observation import Exited, NotReady, Recorded, Running, Stopping, Unknown
from reconciler.model.status import Reason
from tests.api.daemon import launch
from tests.plan.world import fleet
from tests.plan.world import instance as made

DAY = 1.7e9
"""The wall clock where CLOCK_MONOTONIC is 0."""
FLEET = fleet("kind: Service\nname: tiny\ncommand: [sleep, infinity]\n")


class Box:
    """A state directory at some time."""

    def __init__(self, path) -> None:
        self.path, self.now = path, 100.0
        self.runs = self.reopened()

    def reopened(self) -> Runs:
        self.runs = Runs(str(self.path), clock=lambda: self.now, today=lambda: DAY + self.now)
        return self.runs

    def log(self, run: int, *sizes: int, slot: str = "tiny.0") -> None:
        directory = self.path / "logs" / slot
        directory.mkdir(parents=True, exist_ok=True)
        for piece, size in enumerate(sizes):
            (directory / f"{run}.{piece}.log").write_bytes(b"x" * size)

    def told(self, *instances):
        found = self.runs.of("tiny", {each.slot: each for each in instances})
        return [(one.slot, one.run, one.began, one.ended, one.outcome, one.first_failure, one.size) for one in found]


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


def instance(phase, run: int = 1, slot: str = "tiny/0"):
    return replace(made(FLEET, "tiny/0", phase, run=run), slot=slot)


def test_how_a_run_ended_is_told_as_long_as_its_log_is_kept(box):
    box.log(1, 7)
    box.now = 150.0
    box.runs.note(instance(Exited(began=110.0, at=140.0, code=3, detail="no such file")))
    box.log(2, 10, 5)
    box.now = 200.0
    runs = Running(pid=1, since=160.0, readiness=NotReady())
    assert box.told(instance(runs, run=2)) == [
        ("tiny/0", 2, DAY + 160, None, "runs", False, 15),
        ("tiny/0", 1, DAY + 110, DAY + 140, "exited with status 3 (no such file)", False, 7),
    ]
    (box.path / "logs/tiny.0/1.0.log").unlink()
    box.runs.note(instance(Exited(began=160.0, at=190.0, signal=9), run=2))
    assert box.told() == [("tiny/0", 2, DAY + 160, DAY + 190, "was killed by signal 9", False, 15)]
    assert "no such file" not in (box.path / "logs/tiny.0/endings.json").read_text()


def test_the_next_daemon_tells_the_same(box):
    box.log(1, 7)
    ended = instance(Exited(began=110.0, at=120.0, code=1))
    box.runs.note(ended)
    before = box.told(ended)
    box.now = 500.0
    box.reopened().note(instance(Exited(began=None, at=490.0, code=1)))  # it knows less, and only since it looked
    assert box.told(ended) == before


def test_one_that_is_forgotten_is_told_while_its_logs_are_there(box):
    box.log(1, 7)
    box.runs.note(instance(Exited(began=110.0, at=120.0, asked=Reason.ScaledDown)))
    assert box.told() == [("tiny/0", 1, DAY + 110, DAY + 120, "was stopped: ScaledDown", False, 7)]


@pytest.mark.parametrize(
    ("phase", "told"),
    [
        (Recorded(), (None, None, "is about to be started")),
        (Stopping(pid=1, since=90.0, asked=Reason.StopAsked), (None, None, "is being stopped")),
        (Unknown(reason="no answer"), (None, None, "cannot be seen: no answer")),
        (Exited(at=95.0, code=1), (None, DAY + 95, "exited with status 1")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_newest_is_told_as_it_is_though_nothing_is_kept_of_it(box, phase, told):
    assert box.told(instance(phase)) == [("tiny/0", 1, *told, False, 0)]


def test_of_a_run_from_before_this_was_written_down_the_log_is_told(box):
    box.log(4, 3)
    assert box.told() == [("tiny/0", 4, None, None, "how it ended is not known", False, 3)]


def test_the_first_failure_is_marked(box):
    box.log(1, 1)
    box.log(2, 1)
    mark_first_failure(str(box.path / "logs/tiny.0"), 1)
    assert [(run, first) for _, run, *_, first, _ in box.told()] == [(2, False), (1, True)]


def test_only_runs_of_that_workload_are_told_by_slot(box):
    for slot in ("tiny.10", "tiny.2", "tiny-more.0", "tiny.0.old", "other.0"):
        box.log(1, 1, slot=slot)
    assert [slot for slot, *_ in box.told()] == ["tiny/2", "tiny/10"]


def test_a_disk_that_takes_nothing_costs_the_note_alone(box):
    box.runs.note(instance(Exited(at=1.0)))  # there is no directory
    box.log(1, 1)
    box.reopened().note(instance(Exited(at=1.0, code=5)))
    (box.path / "logs/tiny.0/endings.json").write_text("{")
    assert box.told() == [("tiny/0", 1, None, None, "how it ended is not known", False, 1)]


def test_one_whose_record_cannot_be_read_has_no_run(box):
    broken = replace(instance(Unknown(reason="cut off")), launch=launch("tiny/0", run=0))
    assert box.told(broken) == []
