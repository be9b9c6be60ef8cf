"""The terminal as Textual has it, but who reads keys sleeps until there are some: Textual's looks each 0.1 s."""

import os
import select
import threading
from codecs import getincrementaldecoder
from typing import Any

from textual._xterm_parser import XTermParser
from textual.constants import ESCAPE_DELAY
from textual.drivers.linux_driver import LinuxDriver


class _Bell(threading.Event):
    """Whoever polls its descriptor wakes when it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.descriptor = os.eventfd(0)

    def set(self) -> None:
        """Ring."""
        super().set()
        os.eventfd_write(self.descriptor, 1)

    def heard(self) -> None:
        """Ring no more."""
        os.eventfd_read(self.descriptor)


class Driver(LinuxDriver):
    """Of the terminal that we were started on."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)  # pyright: ignore[reportUnknownMemberType]  Textual leaves it open
        # never closed: it rings whenever the terminal is left, and it may be left for a shell and come back to
        self._bell = self.exit_event = _Bell()

    def run_input_thread(self) -> None:
        """Tell the app what is typed, until the bell rings. Raises OSError where the terminal is gone."""
        parser, decode = XTermParser(self._debug), getincrementaldecoder("utf-8")("replace").decode
        terminal = select.poll()
        for descriptor in (self.fileno, self._bell.descriptor):
            terminal.register(descriptor, select.POLLIN)
        patience: float | None = None
        while not self.exit_event.is_set():
            ready = {descriptor for descriptor, _ in terminal.poll(patience)}
            if self._bell.descriptor in ready:
                self._bell.heard()
            elif self.fileno in ready:
                typed = os.read(self.fileno, 4096)
                if not typed:
                    return  # nothing can be typed there any more
                text = decode(typed)
                for message in parser.feed(text) if text else ():
                    self.process_message(message)
                patience = ESCAPE_DELAY * 1000  # may be the key, or begin what another key sends
            else:
                for message in parser.tick():
                    self.process_message(message)
                patience = None

    def _sigcont_application(self, *given: object) -> None:
        """Go on where it had made way for a shell. One that was only stopped reads keys still: it began already."""
        if self._key_thread is None or not self._key_thread.is_alive():
            super()._sigcont_application(*given)  # pyright: ignore[reportUnknownMemberType]
