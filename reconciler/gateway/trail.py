"""Keeps a record of each request in a chain: who, which model, how many tokens, what came of it; never what was said.

In a thread: no request waits for a disk. What cannot be kept is counted, and the next record says so.
"""

import logging
import threading
from collections import deque

from reconciler.chain import Chain
from reconciler.gateway.record import Record

log = logging.getLogger(__name__)
SOON = 0.2
"""Seconds for which records are gathered: the disk is asked once for all of them."""
_MOST = 1000
"""Records that are written at once."""
_ROOM = 20_000
"""Records that wait for a slow disk."""
_LONGEST = 512
"""Characters of anything that a client made up."""


class Trail:
    """The file of one worker."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._refused = self._failed = 0
        """Records that could not be kept: each is counted by one thread only."""
        self._said = 0
        """Of these, those that a record tells of."""
        self._waiting: deque[dict[str, object]] = deque()
        self._closing = threading.Event()
        self._chain: Chain | None = None
        self._thread = threading.Thread(target=self._write, name="trail", daemon=True)
        self._thread.start()

    def add(self, record: Record, at: float) -> None:
        """Have it written. `at`: when it ended, seconds since the epoch."""
        if len(self._waiting) >= _ROOM:
            self._refused += 1
            return
        self._waiting.append(
            {
                "at": round(at, 3),
                "id": record.request_id,
                "key": record.key,
                "client": record.client,
                "method": record.method,
                "path": record.path,
                "asked": record.asked,
                "model": record.model,
                "slot": record.slot,
                "status": record.status,
                "reason": record.reason,
                "read": record.prompt,
                "written": record.written,
            }
        )

    @property
    def lost(self) -> int:
        """Records that could not be kept."""
        return self._refused + self._failed

    def close(self, within: float) -> None:
        """Wait at most so many seconds until all is on disk. Nothing is taken after that."""
        self._closing.set()
        self._thread.join(within)

    def _write(self) -> None:
        while not self._closing.wait(SOON) or self._waiting:
            while self._waiting:
                self._keep([_fit(self._waiting.popleft()) for _ in range(min(_MOST, len(self._waiting)))])
        if self._chain is not None:
            self._chain.close()

    def _keep(self, records: list[dict[str, object]]) -> None:
        lost = self.lost - self._said
        try:
            chain = self._chain = self._chain or Chain(self._path)
            if chain.trouble is not None:
                trouble, chain.trouble = chain.trouble, None
                log.error("%s", trouble)
            chain.append([{"at": records[0]["at"], "lost": lost}, *records] if lost else records)
        except OSError as error:
            if not lost:
                log.error("cannot record requests in %s: %s", self._path, error)  # noqa: TRY400  a disk, not a bug
            self._failed += len(records)
        else:
            self._said += lost


def _fit(record: dict[str, object]) -> dict[str, object]:
    """The same in ASCII, and not endless: what a client made up must not keep a record from being written."""
    return {
        name: value[:_LONGEST].encode("ascii", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in record.items()
    }
