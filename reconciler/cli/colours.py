"""Which colours the dashboard wears: those asked for, those chosen last, or what suits the terminal."""

import argparse
import contextlib
import os
import re
import termios
import time
import tty

from reconciler.cli.places import xdg
from reconciler.ready import readable

AUTO = "auto"
_BROWSER = "dark"
"""What suits a browser, which cannot be asked."""
_PATIENCE = 0.3
"""Seconds for a terminal to answer; most take a few milliseconds."""
_ASKED = b"\x1b]11;?\x1b\\\x1b[c"
"""Its background; then who it is, which every terminal answers, so that nothing is waited for in vain."""
_GROUND = re.compile(rb"\]11;rgba?:([0-9a-fA-F]+)/([0-9a-fA-F]+)/([0-9a-fA-F]+)")
_DONE = re.compile(rb"\x1b\[\?[0-9;]*c")


def theme(chosen: argparse.Namespace) -> str:
    """`dark`, `light` or `ansi`: by `--theme`, HOLDFAST_THEME, the last choice, or the terminal."""
    return _asked_for(chosen) or _suits(os.environ.get("TERM", ""))


def in_browser(chosen: argparse.Namespace) -> str:
    """The same of one that a browser shows."""
    return _asked_for(chosen) or _BROWSER


def _asked_for(chosen: argparse.Namespace) -> str:
    """Empty where nobody did."""
    for asked in (chosen.theme, os.environ.get("HOLDFAST_THEME"), _remembered()):
        if asked in ("dark", "light", "ansi"):
            return asked
        if asked == AUTO:
            break
    return ""


def remember(name: str) -> None:
    """For the next time, where that can be written."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(_file()), mode=0o700, exist_ok=True)
        with open(_file(), "w", encoding="utf-8") as file:
            file.write(f"{name}\n")


def _remembered() -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError), open(_file(), encoding="utf-8") as file:
        return file.readline(64).strip()
    return ""


def _file() -> str:
    return os.path.join(xdg(os.environ, "STATE"), "holdfast", "theme")


def _suits(term: str) -> str:
    """Light where the terminal is, its own colours where it has no others, else dark."""
    if "TEXTUAL_DRIVER" in os.environ:
        return _BROWSER
    if term in ("linux", "ansi", "vt100", "vt220"):
        return "ansi"
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return "dark"
    try:
        return "light" if is_light(ask(terminal)) else "dark"
    finally:
        os.close(terminal)


def is_light(answer: bytes) -> bool:
    """Whether what a terminal said of its background is nearer to white than to black."""
    found = _GROUND.search(answer)
    if found is None:
        return False
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in found.groups())
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5


def ask(terminal: int, within: float = _PATIENCE) -> bytes:
    """What it says of its background. What it says is over when this returns, or comes later than `within` seconds."""
    try:
        before = termios.tcgetattr(terminal)
    except termios.error:
        return b""
    said, end = b"", time.monotonic() + within
    try:
        tty.setraw(terminal, termios.TCSANOW)
        os.write(terminal, _ASKED)
        while _DONE.search(said) is None and len(said) < 4096:
            if not readable(terminal, end - time.monotonic()):
                break
            said += os.read(terminal, 256)
    except OSError:
        pass
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
    return said
