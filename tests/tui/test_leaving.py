"""The dashboard as a process on a terminal that goes, comes back, shrinks, and is given back as it was found."""

import os
import re
import signal
import sys

import pytest

from tests.bench.terminal import Terminal
from tests.eventually import eventually
from tests.tui import worlds
from tests.tui.daemon import Daemon

LEFT = (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1003l", b"\x1b[?2004l")
"""The screen that was there before, a cursor, no mouse, no brackets about what is pasted."""
SEEN = b"gemma-3-27b"


@pytest.fixture
def terminal(tmp_path):
    """With the fleet on it, and its modes before."""
    of = worlds.status(3, 1)
    with Daemon(tmp_path / "sock", of) as daemon:
        daemon.publish(live=worlds.live(of))
        argv = [sys.executable, "-m", "reconciler.cli", "tui", "--socket", daemon.path]
        with Terminal(argv, env={"HOME": str(tmp_path), "HOLDFAST_THEME": "dark"}) as made:
            found = made.modes
            made.until(SEEN)
            made.settle()
            yield made, found


def test_a_terminal_is_given_back_as_it_was_found_when_the_dashboard_is_left(terminal):
    shown, found = terminal
    assert shown.modes != found
    shown.press(b"q")
    assert shown.ended() == 0
    assert all(each in shown.last for each in LEFT)
    assert shown.modes == found


def test_a_terminal_is_given_back_as_it_was_found_when_the_dashboard_is_told_to_end(terminal):
    shown, found = terminal
    os.kill(shown.pid, signal.SIGTERM)
    assert shown.ended() == 128 + signal.SIGTERM
    assert all(each in shown.last for each in LEFT)
    assert shown.modes == found


def test_where_no_colours_are_wanted_none_are_written(tmp_path):
    """The cursor is seen all the same: reversed."""
    of = worlds.status(3, 1)
    with Daemon(tmp_path / "sock", of) as daemon:
        daemon.publish(live=worlds.live(of))
        argv = ["env", "NO_COLOR=1", sys.executable, "-m", "reconciler.cli", "tui", "--socket", daemon.path]
        with Terminal(argv, env={"HOME": str(tmp_path), "HOLDFAST_THEME": "dark"}) as made:
            made.until(SEEN)
            made.resize(100, 30)
            written = bytearray()

            def seen(text: bytes) -> bool:
                written.extend(made.read(0.1))
                return text in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", written)

            eventually(lambda: seen(SEEN), what="all of it again")
            made.press(b"t")
            eventually(lambda: seen(b"NO_COLOR is set"), what="why there are no others")
    looks = {number for told in re.findall(rb"\x1b\[([0-9;]*)m", bytes(written)) for number in told.split(b";")}
    assert looks <= {b"", b"0", b"1", b"2", b"3", b"4", b"7", b"9", b"22", b"23", b"24", b"27", b"29"}
    assert b"7" in looks


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_ends_when_it_is_told_to_though_nobody_takes_what_it_writes(terminal, number):
    shown, found = terminal
    for _ in range(60):
        shown.press(b"t")  # all of it anew in other colours, again and again
    took: list[float] = []
    eventually(lambda: took.append(shown.cpu()) or took[-10:] == took[-1:] * 10, what="it waits for its terminal")
    os.kill(shown.pid, number)
    assert shown.ended(reading=False) == 128 + number
    assert shown.modes == found
    read = shown.read(5.0)
    assert all(each in read for each in LEFT)


def test_it_ends_with_its_terminal(terminal):
    shown, _ = terminal
    shown.hang_up()
    assert shown.ended() == 128 + signal.SIGHUP


def test_it_makes_way_for_the_shell_and_shows_all_of_itself_when_it_goes_on(terminal):
    shown, found = terminal
    for _ in range(2):
        os.kill(shown.pid, signal.SIGTSTP)
        eventually(lambda: shown.modes == found, what="the terminal is the shell's")
        shown.settle()
        os.kill(shown.pid, signal.SIGCONT)
        shown.until(SEEN)
        eventually(lambda: shown.modes != found, what="the terminal is its own")
        shown.press(b"?")
        shown.until(b"Moving about")
        shown.press(b"\x1b")
        shown.until(SEEN)
    shown.press(b"q")
    assert shown.ended() == 0
    assert shown.modes == found


def test_one_that_is_told_to_go_on_and_never_made_way_goes_on(terminal):
    """As tmux tells whatever was stopped in it."""
    shown, found = terminal
    os.kill(shown.pid, signal.SIGSTOP)
    os.kill(shown.pid, signal.SIGCONT)
    shown.settle()
    shown.press(b"q")
    assert shown.ended() == 0
    assert shown.modes == found


def test_a_terminal_may_become_far_too_small_and_large_again(terminal):
    shown, _ = terminal
    shown.resize(10, 3)
    shown.settle()
    shown.resize(120, 40)
    shown.until(SEEN)
