"""`holdfast tui` on a terminal: where it refuses, what it wears, what it leaves behind."""

import argparse
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reconciler.cli import colours
from tests.api.daemon import status, workload
from tests.eventually import eventually
from tests.tmux import Terminal
from tests.tui.daemon import Daemon

TUI = [sys.executable, "-m", "reconciler.cli", "tui"]


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "sock", status(workload("a-name-to-look-for"))) as served:
        yield served


@pytest.fixture
def env(tmp_path):
    """Of a user who has chosen nothing yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOLDFAST_", "XDG_", "TMUX"))}
    return kept | {"HOME": str(tmp_path), "COLORTERM": "truecolor"}


@pytest.fixture
def terminal(tmp_path, daemon, env):
    """`holdfast tui`, in a terminal."""
    made: list[Terminal] = []

    def begin(*more: str, **kept: str) -> Terminal:
        place = tmp_path / f"terminal{len(made)}"
        made.append(Terminal(place, [*TUI, "--socket", daemon.path, *more], env=env | kept, size=(100, 30)))
        return made[-1]

    yield begin
    for each in made:
        each.close()


@pytest.mark.parametrize("key", ["q", "C-c", "C-q"])
def test_it_shows_what_runs_and_leaves_the_terminal_as_it_was(terminal, key):
    shown = terminal()
    shown.until("a-name-to-look-for", "1 Fleet")
    shown.press(key)
    shown.ended(0)
    assert shown.text.strip() == ""


def test_a_daemon_that_is_not_there_is_said_to_be_away_and_waited_for(terminal, daemon):
    daemon.close()
    shown = terminal()
    shown.until("away", "asked again every second")
    daemon.start()
    shown.until("a-name-to-look-for", gone=["away"])


def test_it_follows_the_terminals_size_whatever_a_shell_has_exported(terminal):
    shown = terminal(COLUMNS="80", LINES="24")
    shown.until("a-name-to-look-for")
    shown.resize(50, 10)
    shown.until("60 × 15 is the least; this is 50 × 10", gone=["a-name-to-look-for"])
    shown.resize(140, 40)
    shown.until("a-name-to-look-for", gone=["the least"])


def test_the_theme_that_was_chosen_last_is_worn_again(terminal, tmp_path):
    remembered = tmp_path / ".local/state/holdfast/theme"
    shown = terminal()
    shown.until("a-name-to-look-for")
    for name in ("light", "ansi", "dark"):
        shown.press("t")
        eventually(lambda name=name: remembered.exists() and remembered.read_text() == f"{name}\n")


def test_elsewhere_it_says_what_prints(env):
    done = subprocess.run(TUI, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot show the dashboard: stdin is no terminal; `holdfast status`" in done.stderr


def test_a_terminal_that_cannot_move_its_cursor_is_refused(env):
    mine, theirs = pty.openpty()
    done = subprocess.run(
        TUI, env=env | {"TERM": "dumb"}, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(mine)
    os.close(theirs)
    assert done.returncode == 1
    assert "TERM=dumb" in done.stderr


# -- which colours


def chosen(theme: str | None = None) -> argparse.Namespace:
    return argparse.Namespace(theme=theme)


@pytest.fixture
def mine(monkeypatch, tmp_path):
    """A user without any choice, at a terminal of the kernel: that has colours of its own."""
    for name in ("HOLDFAST_THEME", "XDG_STATE_HOME", "TEXTUAL_DRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "linux")
    return monkeypatch


def test_what_is_asked_for_wins_then_the_environment_then_the_last_choice(mine, tmp_path):
    assert colours.theme(chosen()) == "ansi"
    colours.remember("light")
    assert colours.theme(chosen()) == "light"
    mine.setenv("HOLDFAST_THEME", "dark")
    assert colours.theme(chosen()) == "dark"
    assert colours.theme(chosen("light")) == "light"
    assert colours.theme(chosen("auto")) == "ansi"
    assert colours.in_browser(chosen()) == "dark"
    assert colours.in_browser(chosen("light")) == "light"
    mine.setenv("HOLDFAST_THEME", "auto")
    assert colours.theme(chosen()) == "ansi"
    assert colours.in_browser(chosen()) == "dark"


def test_a_choice_that_cannot_be_kept_or_read_is_no_error(mine, tmp_path):
    (tmp_path / ".local").write_text("in the way")
    colours.remember("light")
    assert colours.theme(chosen()) == "ansi"
    mine.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "state/holdfast").mkdir(parents=True)
    Path(tmp_path / "state/holdfast/theme").write_bytes(b"\xff\xfe nonsense")
    assert colours.theme(chosen()) == "ansi"


@pytest.mark.parametrize(
    ("answer", "light"),
    [
        (b"\x1b]11;rgb:ffff/ffff/f0f0\x1b\\\x1b[?62;22c", True),
        (b"\x1b]11;rgb:1e/1e/2e\x07\x1b[?1;2c", False),
        (b"\x1b]11;rgba:eeee/eeee/eeee/ffff\x1b\\\x1b[?1c", True),
        (b"\x1b[?62c", False),
        (b"", False),
        (b"\x1b]11;rgb:\x1b\\garbage\xff", False),
    ],
)
def test_a_light_terminal_gets_light_colours(answer, light):
    ours, theirs = pty.openpty()
    asked: list[bytes] = []

    def reply() -> None:
        asked.append(os.read(ours, 100))
        os.write(ours, answer)

    thread = threading.Thread(target=reply)
    thread.start()
    patience = 60.0 if answer.endswith(b"c") else 0.3  # its last word, or none that could be waited for
    assert colours.is_light(colours.ask(theirs, patience)) is light
    thread.join()
    assert asked == [b"\x1b]11;?\x1b\\\x1b[c"]
    os.close(ours)
    os.close(theirs)


def test_what_is_no_terminal_is_not_asked(tmp_path):
    with (tmp_path / "file").open("w+b") as file:
        assert colours.ask(file.fileno()) == b""
