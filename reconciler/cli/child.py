"""A process of ours that is started in the background: with a log of its own, and beyond the end of our terminal."""

import os
import subprocess
import sys
from collections.abc import Sequence

from reconciler.model.errors import HoldfastError
from tui.view.clean import clean

_ENDING = 10.0
_LOG = 8 * 2**20


class Child:
    """The daemon or the gateway, that we started."""

    def __init__(self, name: str, verb: Sequence[str], log: str) -> None:
        """`name` is for people; `verb` and its options are as somebody would type them."""
        self.name, self.log = name, log
        with _open_log(log) as out:
            self._from = out.tell()
            # a session of its own: it must not end with our terminal, nor by a Ctrl-C that is meant for us
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "reconciler.cli", *verb],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def ended(self) -> int | None:
        """Its exit status, once it has ended."""
        return self._process.poll()

    def epitaph(self) -> str:
        """How it ended, in its own last words where it had some."""
        with open(self.log, "rb") as log:
            log.seek(self._from)
            last = clean(log.read(65536).decode(errors="replace")).strip().splitlines()
        word = last[-1] if last else ""
        if word.startswith("holdfast: "):
            return word.removeprefix("holdfast: ")
        return f"cannot keep {self.name} running: it ended with status {self.ended()}; look at {self.log}: {word}"

    def end(self) -> None:
        """End it, and wait for that. Raises HoldfastError."""
        self._process.terminate()
        try:
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            raise HoldfastError(
                f"cannot end {self.name} (pid {self.pid}) within {_ENDING:g} s; look at {self.log}"
            ) from None


def _open_log(path: str):
    """A log, begun anew where it has grown long; one before it is kept."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    if os.path.exists(path) and os.path.getsize(path) > _LOG:
        os.replace(path, f"{path}.1")
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))
