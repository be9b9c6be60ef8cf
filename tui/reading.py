"""What a screen asks of a daemon beside the streams: in a thread, never twice at once; the last answer stays."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from reconciler.model.errors import HoldfastError

T = TypeVar("T")
_AGAIN = 2.0
"""Seconds until what failed is tried again."""


class Reading(Generic[T]):
    """One question, asked again whenever something has changed."""

    def __init__(self, ask: Callable[[], T], wake: Callable[[], None]) -> None:
        """`ask` raises HoldfastError, and may take its time; `wake` is called in our thread once there is an answer."""
        self._ask = ask
        self._wake = wake
        self._begun: object = None
        self._busy = False
        self._tried = 0.0
        self.value: T | None = None
        """The last answer."""
        self.at = 0.0
        """When it was given, seconds since the epoch."""
        self.error = ""
        """Why there is none newer, and what to do; empty where that was the newest."""

    def want(self, of: object) -> None:
        """Have it as of this: asked where the last answer was to something else, or was none."""
        if self._busy:
            return  # asked again by the drawing that its answer wakes
        if of == self._begun and not (self.error and time.monotonic() > self._tried + _AGAIN):
            return
        self._busy, self._begun = True, of
        threading.Thread(target=self._read, name="reading", daemon=True).start()

    def _read(self) -> None:
        self._tried = time.monotonic()
        try:
            self.value, self.at, self.error = self._ask(), time.time(), ""
        except HoldfastError as error:
            self.error = str(error)
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            self.error = f"cannot make sense of the answer: {error!r}; the daemon is of another version, restart it"
        finally:
            self._busy = False
        self._wake()
