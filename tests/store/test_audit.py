"""Who did what is recorded before it is done; what cannot be recorded is not done, but for what makes things stop."""

import json
import os
import resource
import signal
from pathlib import Path

import pytest

from reconciler.chain import Line, read
from reconciler.model.acts import Act
from reconciler.model.errors import ApiError
from reconciler.plan.happenings import Happening
from reconciler.store.audit import Audit

SCALE = Act(pid=42, uid=1000, user="ann", verb="scale", subject="chat", arguments={"replicas": 3})
STOP = Act(pid=42, uid=1000, user="ann", verb="stop", subject="chat")
APPLY = Act(pid=42, uid=0, user="root", verb="apply", subject="daemon", arguments={"prune": True})


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def told() -> list[Happening]:
    return []


@pytest.fixture
def full():
    """While it is there nothing of this process can be written to a file."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Disk:
        def fill(self) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))

        def free(self) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    disk = Disk()
    yield disk
    disk.free()
    signal.signal(signal.SIGXFSZ, before)


def records(path: Path) -> list:
    with path.open("rb") as file:
        return [one.record if isinstance(one, Line) else one for one in read(file)]


def test_an_act_is_recorded_before_it_is_done_and_its_outcome_after(path, told) -> None:
    audit = Audit(str(path), told.append, clock=lambda: 1.7e9)
    number = audit.asked(SCALE)
    asked = {"at": 1.7e9, "user": "ann", "uid": 1000, "pid": 42, "verb": "scale", "subject": "chat"}
    assert records(path) == [asked | {"arguments": {"replicas": 3}}]
    assert told == []
    audit.ended(SCALE, number, "chat: 3 replicas")
    assert records(path)[1:] == [{"at": 1.7e9, "of": 1, "outcome": "chat: 3 replicas"}]


def test_an_event_tells_of_it_with_the_head_of_the_chain(path, told) -> None:
    audit = Audit(str(path), told.append)
    audit.ended(SCALE, audit.asked(SCALE), "chat: 3 replicas")
    audit.ended(APPLY, audit.asked(APPLY), "looking now")
    heads = [f"{one['seq']}:{one['hash'][:16]}" for one in map(json.loads, path.read_text().splitlines())]
    assert [(one.severity, one.subject, one.reason.value, one.message) for one in told] == [
        ("info", "chat", "Asked", f"ann (pid 42) asked: scale chat, replicas 3; chat: 3 replicas; audit {heads[1]}"),
        ("info", "daemon", "Asked", f"root (pid 42) asked: apply, prune True; looking now; audit {heads[3]}"),
    ]


def test_on_a_full_disk_an_act_is_refused_and_nothing_is_half_recorded(path, told, full) -> None:
    audit = Audit(str(path), told.append)
    audit.asked(SCALE)
    full.fill()
    with pytest.raises(ApiError) as refused:
        audit.asked(SCALE)
    full.free()
    assert str(refused.value) == (
        f"cannot record it in {path}: file too large; nothing was done; make room there, and ask again"
    )
    assert refused.value.status == 409
    assert [(one.severity, one.message) for one in told] == [
        ("error", f"ann (pid 42) asked: scale chat, replicas 3; refused: cannot record it in {path}: file too large")
    ]
    assert len(records(path)) == 1
    assert audit.asked(SCALE) == 2


@pytest.mark.parametrize("verb", ["stop", "pause", "restart", "resume", "scale", "apply", "prune"])
def test_only_what_makes_things_stop_is_done_all_the_same_and_an_event_says_so(path, told, full, verb) -> None:
    audit = Audit(str(path), told.append)
    act = Act(pid=42, uid=1000, user="ann", verb=verb, subject="chat")
    full.fill()
    if verb in ("stop", "pause"):
        assert audit.asked(act) is None
        audit.ended(act, None, "stopping chat")
        assert told[0].message == (
            f"ann (pid 42) asked: {verb} chat; done all the same: cannot record it in {path}: file too large"
        )
    else:
        with pytest.raises(ApiError):
            audit.asked(act)
    assert [one.severity for one in told] == ["error"]
    assert not path.read_bytes()


def test_an_outcome_that_cannot_be_recorded_is_told(path, told, full) -> None:
    audit = Audit(str(path), told.append)
    number = audit.asked(SCALE)
    full.fill()
    audit.ended(SCALE, number, "chat: 3 replicas")
    full.free()
    assert [(one.severity, one.message.partition("; ")[2]) for one in told] == [
        ("error", f"chat: 3 replicas; cannot record that in {path}: file too large; audit 1")
    ]


def test_a_folder_that_cannot_be_written_to_refuses_acts_and_not_the_daemon(tmp_path, told) -> None:
    audit = Audit(str(tmp_path / "gone" / "audit.log"), told.append)
    with pytest.raises(ApiError, match="no such file or directory; nothing was done"):
        audit.asked(SCALE)
    (tmp_path / "gone").mkdir()
    assert audit.asked(SCALE) == 1


def test_a_spoilt_file_is_set_aside_with_an_event(path, told) -> None:
    audit = Audit(str(path), told.append)
    audit.asked(SCALE)
    path.write_bytes(path.read_bytes().replace(b"chat", b"chut"))
    assert Audit(str(path), told.append).asked(STOP) == 1
    assert [(one.severity, one.subject, one.message) for one in told] == [
        (
            "error",
            "daemon",
            f"{path}: its last line is bad: it was changed; it was set aside as audit.log.broken-1, and a new one "
            f"begun; audit 0:{'0' * 16}",
        )
    ]
    assert b"chut" in Path(f"{path}.broken-1").read_bytes()


def test_a_long_argument_does_not_fill_the_events(path, told) -> None:
    act = Act(pid=1, uid=0, user="root", verb="prune", subject="daemon", arguments={"sources": ["x" * 1000] * 40})
    audit = Audit(str(path), told.append)
    audit.ended(act, audit.asked(act), "deleted")
    assert len(told[0].message) < 400
    assert records(path)[0]["arguments"] == {"sources": ["x" * 1000] * 40}
    assert os.stat(path).st_mode & 0o777 == 0o600
