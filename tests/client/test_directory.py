"""The directory of a connection's sockets, and what becomes of it."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.client.directory import Directory

HOLDER = """
import sys, time
from reconciler.client.directory import Directory
made = Directory(sys.argv[1])
print(made.path, flush=True)
time.sleep(1000)
"""


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("r")


def test_it_is_ours_alone_and_goes_with_us(runtime: Path) -> None:
    made = Directory(str(runtime))
    assert stat.S_IMODE(os.stat(made.path).st_mode) == 0o700
    socket.socket(socket.AF_UNIX).bind(f"{made.path}/s")
    made.close()
    made.close()
    assert list(runtime.iterdir()) == []


def test_what_a_killed_one_left_goes_with_the_next_start_and_what_is_held_stays(runtime: Path) -> None:
    others = {
        "holdfast-ssh-of-yours": runtime / "holdfast-ssh-of-yours",
        "elsewhere": runtime / "elsewhere",
    }
    others["elsewhere"].mkdir()
    others["holdfast-ssh-of-yours"].symlink_to(others["elsewhere"])
    first = Directory(str(runtime))
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(runtime)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    held = Path(process.stdout.readline().strip())
    second = Directory(str(runtime))
    assert held.exists()
    process.kill()
    process.communicate(timeout=60)
    assert held.exists()
    third = Directory(str(runtime))
    assert not held.exists()
    assert {*map(str, runtime.iterdir())} == {first.path, second.path, third.path, *map(str, others.values())}
    for each in (first, second, third):
        each.close()


def test_where_a_path_is_too_long_for_a_socket_it_goes_elsewhere(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = runtime / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    made = Directory(str(deep))
    assert (Path(made.path).parent, list(deep.iterdir())) == (Path("/tmp"), [])
    made.close()
