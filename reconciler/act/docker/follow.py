"""Follows what a container says into the log of its run, in a thread of its own.

Each log carries how far it was read as the time of its file's last change, so that whoever follows it next goes on
there.
"""

import contextlib
import logging
import threading
import time
from datetime import UTC, datetime

from reconciler.act.docker.api import DEADLINE, Api, RefusedError, translated
from reconciler.act.logfile import LogFile, pieces

_log = logging.getLogger(__name__)
_OVERLAP = 0.001
"""Seconds that are read again: the engine is asked in floating point."""
_ENDED = (404, 409)
"""Of a container that is gone, or going, there is nothing to tell."""
_AGAIN = 10.0
"""Seconds from which another follows one that was in vain; twice as many each time."""
_SOUND = 5.0
"""Seconds after which one that ended was not in vain, though the container said nothing."""


class Follower:
    """One container's log on its way to its file."""

    def __init__(
        self, api: Api, container: str, logs: str, run: int, *, secrets: tuple[str, ...], in_vain: int
    ) -> None:
        """`in_vain`: that of who followed it until now."""
        self.ended = False
        """Whether there is no more to come, or nobody who tells it."""
        self.last_words = ""
        self._api, self._container, self._logs, self._run, self._secrets = api, container, logs, run, secrets
        self._closed = False
        self._came = False
        self.in_vain = in_vain
        """So many in a row have ended at once, without a line."""
        self._again = 0.0
        threading.Thread(target=self._follow, name="docker-logs", daemon=True).start()

    def close(self) -> None:
        """Write nothing more."""
        self._closed = True

    @property
    def over(self) -> bool:
        """Whether it is for another to follow: where it was in vain, not with every look."""
        return self.ended and time.monotonic() >= self._again

    def _follow(self) -> None:
        began = time.monotonic()
        log = LogFile(self._logs, self._run, clock=time.monotonic, again=self._begun())
        try:
            with translated():
                self._copy(log)
        except RefusedError as error:
            if error.status not in _ENDED:
                log.remark(f"what it says cannot be read: docker says: {error}")
        except Exception as error:  # noqa: BLE001  whatever a stream that breaks off makes of the SDK
            _log.debug("cannot follow %s any more: %s", self._container, error)
        finally:
            self.last_words = log.last_words(self._secrets)
            log.close()
            now = time.monotonic()
            self.in_vain = 0 if self._came or now > began + _SOUND else self.in_vain + 1
            self._again = now + (_AGAIN * 2 ** min(self.in_vain, 6) if self.in_vain else 0.0)
            self.ended = True

    def _begun(self) -> bool:
        with contextlib.suppress(OSError):
            return any(run == self._run for run, _ in pieces(self._logs))
        return False

    def _copy(self, log: LogFile) -> None:
        since = log.read_until()
        frames = self._api.connect(DEADLINE).logs(
            self._container,
            stream=True,
            follow=True,
            timestamps=True,
            since=since / 1e9 - _OVERLAP if since else None,
        )
        for frame in frames:
            if self._closed:
                return
            stamp, _, said = frame.partition(b" ")
            at = _nanoseconds(stamp)
            if at < since or (
                at == since and b"." in stamp
            ):  # Podman's stamps have no fraction: rather twice than never
                continue
            self._came = True
            since = 0  # of a line that comes in parts, all carry the same time
            log.feed(bytearray(said), len(said))
            log.settle()
            log.note_read(at)


def _nanoseconds(stamp: bytes) -> int:
    """`2026-08-01T12:00:00.123456789Z` as nanoseconds since the epoch."""
    whole, _, part = stamp.rstrip(b"Z").partition(b".")
    seconds = datetime.fromisoformat(whole.decode("ascii")).replace(tzinfo=UTC).timestamp()
    return int(seconds) * 10**9 + int(part.ljust(9, b"0")[:9] or 0)
