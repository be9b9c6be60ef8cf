"""What was promised is on the disk before it was said, and a disk that fails once is not believed (faults 3, 5 and 6).

What cannot be seen without pulling the plug, the order of the system calls, is read from a trace of the real daemon.
"""

import contextlib
import os
import shutil
import subprocess

import pytest

from reconciler.model.errors import ApiError
from tests.eventually import eventually
from tests.system.box import LATEST

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
]


def traced(box, *options: str):
    """A daemon whose system calls are traced, and the file that they are told in."""
    told = box.place / "trace"
    box.daemon(before=("strace", "-D", "-f", "-qq", "-y", "-s", "4096", "--seccomp-bpf", "-o", str(told), *options))
    return told


def test_an_order_is_on_the_disk_before_it_is_acknowledged_and_so_is_an_event(box):
    """Fault 3: a power cut after either loses nothing of it."""
    box.service("one")
    told = traced(box, "-e", "trace=fsync,fdatasync,rename,write,pwrite64,sendto,sendmsg,writev")
    box.converged("one")
    box.client.scale("one", 2)
    box.client.stop("one")
    box.told("was stopped", subject="one/0")
    lines = told.read_text().splitlines()

    def first(*words: str, after: int = 0) -> int:
        return next(at for at, line in enumerate(lines) if at >= after and all(word in line for word in words))

    for order, answer in (('"replicas\\": 2', "one will run 2 replicas"), ('"stopped\\": true', "one will be stopped")):
        written = first("write(", "memory.json.new>", order)
        flushed = first("fsync(", "memory.json.new>", after=written)
        renamed = first("rename(", "memory.json.new", after=flushed)
        kept = first("fsync(", f"<{box.state}>", after=renamed)
        assert kept < first("HTTP/1.1 200", answer)
    written = first("pwrite64(", "events.db-wal>", "was stopped")
    stored = first("fdatasync(", "events.db-wal>", after=written)
    assert stored < first("<socket:", "was stopped")


def test_a_disk_that_fails_once_makes_no_promise_and_loses_no_event(box):
    """Fault 6: each thread's first fsync fails, as of a disk that has lost what it was given."""
    box.service("one")
    box.daemon()
    box.converged("one")
    before = box.pids()
    box.kill()
    traced(box, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=1")
    box.converged("one")
    with pytest.raises(ApiError, match="cannot keep what was asked for: Input/output error; nothing was done"):
        box.client.stop("one")
    assert box.pids() == before, "nothing was done"
    assert box.client.stop("one")
    eventually(lambda: not box.pids(), what="asked again, it stops")
    box.told("stopped", subject="one/0")
    box.kill()
    box.daemon()
    messages = [event.message for event in box.events("one/0")]
    assert len([text for text in messages if "stopped" in text]) == 1
    assert box.row("one").replicas == () or not box.pids(), "it stays stopped"


TALK = ("sh", "-c", f"while :; do echo {'something ' * 100}; echo >> said; sleep 0.1; done")
"""Says a kilobyte ten times a second, and how often it did, in its home."""


@pytest.fixture
def logs(box):
    """Logs on a disk of their own, of 256 KiB and 64 files."""
    place = box.state / "logs"
    place.mkdir(parents=True)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=64", "tmpfs", str(place)], check=False
    ).returncode:
        pytest.skip("cannot mount a tmpfs here")
    yield place
    box.clear()
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_of_logs_costs_lines_and_nothing_else(box, logs):
    """Fault 5."""
    box.service("talks", *TALK)
    daemon = box.daemon()
    box.converged("talks")
    before = box.pids()
    filler = logs / "filler"
    filler.mkdir()
    with contextlib.suppress(OSError):
        (filler / "large").write_bytes(bytes(2**20))
    with contextlib.suppress(OSError):
        for index in range(100):
            (filler / str(index)).touch()
    assert (os.statvfs(logs).f_bavail, os.statvfs(logs).f_ffree) == (0, 0)
    box.service("talks", *TALK, replicas=2)
    box.service("new", *TALK)
    box.converged("talks", "new")
    assert before.items() <= box.pids().items()
    os.kill(box.pids()["talks/0"][0], 9)
    eventually(lambda: box.pids().get("talks/0", before["talks/0"]) != before["talks/0"], what="it is restarted")
    said = box.state / "slots" / "talks.0" / "home" / "said"
    enough = said.stat().st_size + 3
    eventually(lambda: said.stat().st_size > enough, what="more is said that finds no room")
    assert daemon.poll() is None
    shutil.rmtree(filler)
    for slot in ("talks.0", "talks.1", "new.0"):
        eventually(
            lambda slot=slot: any(b"lines dropped]" in each.read_bytes() for each in (logs / slot).glob("*.log")),
            within=LATEST,
            what=f"it is told how many lines of {slot} were dropped",
        )
