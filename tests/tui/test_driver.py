"""What is typed on a terminal comes through, and while nothing is, nobody looks for it."""

import sys
from pathlib import Path

import pytest

from tests.bench.terminal import Terminal
from tests.eventually import eventually
from tests.tui import worlds
from tests.tui.daemon import Daemon

SEEN, HELP = b"gemma-3-27b", b"only those in which all words occur"


@pytest.fixture
def terminal(tmp_path):
    """With a fleet of which nothing is told anew."""
    with Daemon(tmp_path / "sock", worlds.status(3, 1)) as daemon:
        argv = [sys.executable, "-m", "reconciler.cli", "tui", "--socket", daemon.path]
        with Terminal(argv, env={"HOME": str(tmp_path), "HOLDFAST_THEME": "dark"}) as made:
            made.until(SEEN)
            made.settle()
            yield made


def woken(pid: int) -> int:
    """How often threads of that process went to sleep so far."""
    lines = (line for task in Path(f"/proc/{pid}/task").glob("*/status") for line in task.read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def test_while_nothing_happens_nobody_wakes(terminal):
    def still() -> bool:
        before = woken(terminal.pid)
        return terminal.read(1.0) == b"" and woken(terminal.pid) - before < 5

    eventually(still, what="no thread wakes, and nothing is written")


def test_the_escape_key_is_told_from_what_other_keys_begin_with(terminal):
    terminal.press(b"?")
    terminal.until(HELP)
    terminal.press(b"\x1b")
    terminal.until(SEEN)
    terminal.press(b"\x1b[")
    terminal.press(b"B")
    terminal.press(b"\r")
    terminal.until(b"answers to llama-3.3-70b")


def test_bytes_that_are_no_text_are_not_the_end(terminal):
    terminal.press(b"\xff\xc3\xfe")
    terminal.press(b"?")
    terminal.until(HELP)


def test_a_sign_that_comes_in_two_pieces_is_one(terminal):
    terminal.press(b"/")
    terminal.press("é".encode()[:1])
    terminal.settle()
    terminal.press("é".encode()[1:])
    terminal.until("é".encode())
