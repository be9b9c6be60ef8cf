"""Ends the dashboard when a signal tells it to, even where its terminal takes nothing more and all wait for that."""

import asyncio
import atexit
import contextlib
import os
import signal
import termios
import threading
from collections.abc import Callable, Mapping
from queue import Empty, Full
from types import FrameType
from typing import Any

from textual.driver import Driver
from textual.drivers._writer_thread import WriterThread
from textual.drivers.linux_driver import LinuxDriver

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 0.7
"""Seconds that are waited for the terminal: by who writes, and then by who ends."""
_TRIES = 20


class Leaving:
    """Of one app."""

    def __init__(self) -> None:
        self._before: Mapping[int, Any] = {}
        self._told = 0
        self._writer: WriterThread | None = None

    def begin(self, driver: Driver | None, leave: Callable[[], object]) -> None:
        """From now on such a signal has `leave` called in the loop that runs, and nothing is waited for but shortly."""
        loop = asyncio.get_running_loop()

        def told(number: int, _frame: FrameType | None) -> None:
            """Called between two instructions of the main thread, also while that waits for its terminal."""
            if self._told:
                return
            self._told = 128 + number
            signal.signal(signal.SIGCONT, told)  # comes with SIGHUP, and Textual would begin anew
            if isinstance(driver, LinuxDriver) and (writer := driver._writer_thread) is not None:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                self._writer = writer
                driver._writer_thread = _Last(writer, driver.fileno, number)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                threading.Timer(_PATIENCE, _drop, [writer]).start()
            loop.call_soon_threadsafe(leave)

        self._before = {number: signal.signal(number, told) for number in _SIGNALS}

    def release(self) -> None:
        """Signals are what they were before, unless one has told it to end."""
        for number, handler in self._before.items() if not self._told else ():
            signal.signal(number, handler)

    def end(self, status: int) -> int:
        """It has ended: its exit status, which is that of the signal where there was one.

        Where its terminal is gone, or takes nothing, we are at our end too: there is nobody to tell more.
        """
        stuck = self._writer is not None and self._writer.is_alive()  # Python would wait for it
        if stuck or self._told == 128 + signal.SIGHUP:
            atexit._run_exitfuncs()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  they are owed
            os._exit(self._told)
        return self._told or status


class _Last(WriterThread):
    """What comes from now on is written in the end: by who wrote before, or else as far as there is room for it."""

    def __init__(self, before: WriterThread, terminal: int, told: int) -> None:
        """`told`: the signal by which we are told to end; once more it does nothing."""
        self._before, self._terminal, self._told = before, terminal, told
        self._kept: list[str] = []

    def write(self, text: str) -> None:
        self._kept.append(text)

    def stop(self) -> None:
        text, before = "".join(self._kept), self._before
        with contextlib.suppress(Full):
            for each in (text, None):
                before._queue.put(each, timeout=_PATIENCE)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            before.join(_PATIENCE)
        if not before.is_alive():
            return
        _drop(before)
        before._queue.put(None)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        with contextlib.suppress(OSError, termios.error):
            for _ in range(_TRIES):
                termios.tcflush(self._terminal, termios.TCOFLUSH)  # what nobody has read makes room for what is last
                if before.ident is not None:
                    signal.pthread_kill(before.ident, self._told)  # it is not woken by that
                before.join(_PATIENCE / _TRIES)
            again = os.open(os.ttyname(self._terminal), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            os.write(again, text.encode())


def _drop(writer: WriterThread) -> None:
    """What still waits to be written is not; who waits for that goes on."""
    with contextlib.suppress(Empty):
        while True:
            writer._queue.get_nowait()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
