"""A lock says whether its holder lives: known of the dead at once, and what cannot be seen is told from nobody."""

import os
import subprocess
import sys

import pytest

from reconciler import held

HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2]))
print(flush=True)
input()
"""
ALONE, SHARED = 2, 1


@pytest.fixture
def path(tmp_path) -> str:
    (tmp_path / "file").touch()
    return str(tmp_path / "file")


@pytest.fixture
def holder():
    """Another process that holds a path, until it is killed."""
    begun: list[subprocess.Popen] = []

    def hold(path: str, how: int = ALONE) -> subprocess.Popen:
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen([sys.executable, "-c", HOLD, path, str(how)], stdin=pipe, stdout=pipe))
        assert begun[-1].stdout is not None
        begun[-1].stdout.readline()
        return begun[-1]

    yield hold
    for one in begun:
        one.kill()
        one.communicate()


@pytest.mark.parametrize("how", [ALONE, SHARED])
def test_who_lives_holds_and_who_was_killed_does_not(path, holder, how) -> None:
    assert not held.by_somebody(path)
    other = holder(path, how)
    assert held.by_somebody(path)
    assert held.take(path) is None
    other.kill()
    other.wait()
    assert not held.by_somebody(path)


def test_what_is_taken_is_held_until_it_is_closed_and_asking_holds_nothing(path) -> None:
    for _ in range(2):
        assert not held.by_somebody(path)
        mine = held.take(path)
        assert mine is not None
        assert held.by_somebody(path)
        os.close(mine)


def test_a_folder_is_taken_as_a_file_is(tmp_path, holder) -> None:
    mine = held.take(str(tmp_path), folder=True)
    assert mine is not None
    assert held.take(str(tmp_path), folder=True) is None
    os.close(mine)
    holder(str(tmp_path))
    assert held.take(str(tmp_path), folder=True) is None


def test_nobody_holds_what_is_not_there(path) -> None:
    assert not held.by_somebody(f"{path}.none")
    with pytest.raises(FileNotFoundError):
        held.take(f"{path}.none")


def test_what_cannot_be_seen_is_not_nobody_and_leaves_no_descriptor(path, tmp_path) -> None:
    (tmp_path / "link").symlink_to(path)
    before = len(os.listdir("/proc/self/fd"))
    for bad in (f"{path}/beneath", str(tmp_path), str(tmp_path / "link")):
        with pytest.raises(OSError, match=bad):
            held.by_somebody(bad)
    assert len(os.listdir("/proc/self/fd")) == before


def test_who_holds_what_had_the_name_before_does_not_hold_what_has_it(path, holder) -> None:
    holder(path)
    fresh = f"{path}.new"
    open(fresh, "w").close()
    os.replace(fresh, path)
    assert not held.by_somebody(path)


def test_a_name_that_is_given_away_while_it_is_taken_is_taken_anew(path, holder, monkeypatch) -> None:
    fresh, real = f"{path}.new", os.open
    open(fresh, "w").close()
    holder(fresh)

    def late(name, flags):
        descriptor = real(name, flags)
        if os.path.exists(fresh):
            os.replace(fresh, path)
        return descriptor

    monkeypatch.setattr(held.os, "open", late)
    assert held.by_somebody(path)
