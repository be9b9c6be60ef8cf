"""A process is told from another by what cannot be reused: start time, token, the FIFO it writes to."""

import os
import signal
import subprocess

import pytest

from reconciler.act import oom, procfs
from tests.act.stage import identity


@pytest.fixture
def stranger():
    with subprocess.Popen(["sleep", "1000"], env={"HOLDFAST_TOKEN": "abc"}, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_signal_reaches_exactly_who_is_meant(stranger):
    pid, start = identity(stranger.pid)
    found = procfs.stat(pid)
    assert found is not None
    found.start = start - 1  # as if the number had been another's
    procfs.kill(found, signal.SIGKILL)
    assert procfs.pin(pid, start - 1) is None
    assert stranger.poll() is None
    found.start = start
    procfs.kill(found, signal.SIGTERM)
    assert stranger.wait(60) == -signal.SIGTERM


def test_only_our_token_is_ours(stranger):
    nobody = (0, 0)
    assert procfs.carries(stranger.pid, "abc", nobody)
    assert not procfs.carries(stranger.pid, "abcd", nobody)
    assert not procfs.carries(stranger.pid, "", nobody)
    status = os.fstat(stranger.stdout.fileno())
    pipe = (status.st_dev, status.st_ino)
    assert procfs.writes_to(stranger.pid, pipe)
    assert not procfs.carries(stranger.pid, "another", pipe), "who says whose it is is not asked for its output"
    assert not procfs.writes_to(stranger.pid, nobody)


def test_names_with_parentheses_do_not_shift_the_fields(tmp_path):
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "1000"], start_new_session=True) as process:
        try:
            found = procfs.stat(process.pid)
            assert found is not None
            assert (found.parent, found.session) == (os.getpid(), process.pid)
        finally:
            process.kill()


def test_what_was_killed_for_memory_before_anybody_watched_is_no_news(tmp_path):
    counter = tmp_path / "vmstat"
    counter.write_text("oom_kill 7\n")
    watch = oom.Watch(str(counter))
    assert not watch.rose()
    counter.write_text("oom_kill 8\n")
    assert watch.rose()
    watch.sample()
    assert watch.rose(), "one sample may have been taken while it died"
    watch.sample()
    assert not watch.rose()
