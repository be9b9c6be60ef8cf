"""Who did what by the control API: for each act two lines of a chain, before it is done and after.

What cannot be recorded is not done, except what only makes things stop: safety goes first, and events tell of it.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Literal

from reconciler.chain import BEGINNING, Chain, Head
from reconciler.model.acts import Act
from reconciler.model.errors import ApiError
from reconciler.model.status import Reason
from reconciler.plan.happenings import Happening

SAFE = frozenset({"stop", "pause"})
"""Acts that are done even where they cannot be recorded."""


class Audit:
    """The acts of a state directory. For one thread."""

    def __init__(self, path: str, tell: Callable[[Happening], None], *, clock: Callable[[], float] = time.time) -> None:
        """`tell` makes events. The head of the chain stands in them too, so that it shows where its end was cut off."""
        self._path, self._tell, self._clock = path, tell, clock
        self._chain: Chain | None = None
        with contextlib.suppress(OSError):  # the next act tries again, and tells
            self._open()

    def asked(self, act: Act) -> int | None:
        """Record that it is about to be done: the number of its line, None where it is done without.

        Raises ApiError where it may not be done, because it cannot be recorded.
        """
        said: dict[str, object] = {"verb": act.verb, "subject": act.subject}
        said |= {"arguments": act.arguments} if act.arguments else {}
        try:
            return self._write({"user": act.user, "uid": act.uid, "pid": act.pid, **said}).seq
        except OSError as error:
            why = f"cannot record it in {self._path}: {(error.strerror or str(error)).lower()}"
        if act.verb not in SAFE:
            self._event("error", act, f"refused: {why}")
            raise ApiError(f"{why}; nothing was done; make room there, and ask again", status=409)
        self._event("error", act, f"done all the same: {why}")
        return None

    def ended(self, act: Act, number: int | None, outcome: str) -> None:
        """Record what came of it. `number`: what `asked` gave."""
        if number is None:
            return
        try:
            head = self._write({"of": number, "outcome": outcome})
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            self._event("error", act, f"{outcome}; cannot record that in {self._path}: {why}; audit {number}")
        else:
            self._event("info", act, f"{outcome}; audit {head}")

    def _write(self, record: Mapping[str, object]) -> Head:
        return self._open().append([{"at": round(self._clock(), 3), **record}])

    def _open(self) -> Chain:
        chain = self._chain = self._chain or Chain(self._path)
        if chain.trouble is not None:
            message, chain.trouble = f"{chain.trouble}; audit {BEGINNING}", None
            self._tell(Happening(severity="error", subject="daemon", reason=Reason.Recovered, message=message))
        return chain

    def _event(self, severity: Literal["info", "error"], act: Act, outcome: str) -> None:
        message = f"{act}; {outcome}"
        self._tell(Happening(severity=severity, subject=act.subject, reason=Reason.Asked, message=message))
