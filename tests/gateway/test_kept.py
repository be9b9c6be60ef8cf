"""What a gateway keeps: one at a time for each state directory, and files that are whole."""

import os
import subprocess
import sys

import pytest

from reconciler import held
from reconciler.gateway import kept
from reconciler.model.errors import HoldfastError

HOLD = "import sys; from reconciler.gateway import kept; kept.lock(sys.argv[1]); print(1, flush=True); sys.stdin.read()"


@pytest.fixture
def other(tmp_path):
    """Another process that has the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_second_gateway_of_the_same_state_is_told_who_is_there(tmp_path, other):
    assert kept.running(str(tmp_path)) == other.pid
    with pytest.raises(HoldfastError, match=rf"cannot start: a gateway \(pid {other.pid}\) is at work"):
        kept.lock(str(tmp_path))


def test_the_lock_goes_with_its_process(tmp_path, other):
    other.kill()
    other.wait()
    assert kept.running(str(tmp_path)) is None
    os.close(kept.lock(str(tmp_path)))


def test_nobody_is_at_work_where_nothing_is(tmp_path):
    assert kept.running(str(tmp_path / "none")) is None


def test_workers_that_outlive_their_master_are_known_until_the_last_of_them_ends(tmp_path):
    at = str(tmp_path)
    assert not held.by_somebody(kept.orphans(at))
    one, two = kept.outlive(at), kept.outlive(at)
    for descriptor in (one, two):
        assert held.by_somebody(kept.orphans(at))
        os.close(descriptor)
    assert not held.by_somebody(kept.orphans(at))


def test_a_file_is_written_whole_and_for_us_alone(tmp_path):
    path = str(tmp_path / "table.json")
    kept.write(path, b"one")
    kept.write(path, b"two")
    assert kept.read(path) == b"two"
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["table.json"]
    assert kept.read(str(tmp_path / "none")) == b""
