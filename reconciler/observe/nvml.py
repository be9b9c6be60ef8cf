"""NVIDIA's library behind one choke point: every question is asked here, and every error of the driver is a value.

Calls may take long or never return, so only the poller's own thread may be in here.
"""

import ctypes
import functools
import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the driver said instead of an answer."""

    code: int
    words: str


@functools.cache
def _pynvml() -> Any:
    return importlib.import_module("pynvml")


class Nvml:
    """The library, opened or not; and the XIDs that it reports between two readings."""

    def __init__(self) -> None:
        self.names = _pynvml()
        """NVML's own constants."""
        self.opened = False
        self._events: Any = None
        self._watched: dict[int, str] = {}

    def open(self) -> Refusal | None:
        """Open it, unless it is open."""
        if self.opened:
            return None
        refusal = self.ask("nvmlInit")
        self.opened = refusal is None
        return refusal

    def close(self) -> None:
        """Let go of the driver and of every handle."""
        if self._events is not None:
            self.ask("nvmlEventSetFree", self._events)
        self._events, self._watched = None, {}
        if self.opened:
            self.opened = False
            self.ask("nvmlShutdown")

    def ask(self, name: str, *arguments: Any) -> Any:
        """The answer, or a Refusal."""
        try:
            return getattr(self.names, name)(*arguments)
        except self.names.NVMLError as error:
            return Refusal(int(getattr(error, "value", self.names.NVML_ERROR_UNKNOWN)), str(error))

    def known(self, name: str, *arguments: Any) -> Any:
        """The answer, or None: of what not every card or driver can tell."""
        answer = self.ask(name, *arguments)
        return None if isinstance(answer, Refusal) else answer

    def watch(self, handle: Any, uuid: str) -> None:
        """Hear of the XIDs of a card from now on, where its driver reports them."""
        self._events = self._events or self.known("nvmlEventSetCreate")
        if self._events is None:
            return
        self.ask("nvmlDeviceRegisterEvents", handle, self.names.nvmlEventTypeXidCriticalError, self._events)
        self._watched[_address(handle)] = uuid

    def wait(self, seconds: float) -> tuple[str, int] | Refusal | None:
        """Sleep until a card reports an XID: its UUID and the number; None: nothing came, in all that time."""
        if self._events is None:
            return Refusal(self.names.NVML_ERROR_NOT_SUPPORTED, "no events")
        event = self.ask("nvmlEventSetWait_v2", self._events, max(1, round(seconds * 1000)))
        if isinstance(event, Refusal):
            return None if event.code == self.names.NVML_ERROR_TIMEOUT else event
        return self._watched.get(_address(event.device), ""), int(event.eventData)


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
