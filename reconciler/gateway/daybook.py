"""What was counted of limits of a day, on disk: a gateway that begins anew goes on counting where the last one ended.

For the master. What was counted in the seconds before a gateway is killed may be lost.
"""

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import cast

from reconciler.gateway.board import DAYS, Board
from reconciler.gateway.counters import Clock

EVERY = 5.0
"""Seconds between two looks at whether there is something to save."""
log = logging.getLogger(__name__)


class Daybook:
    """The counts of a day, by the names of their rows."""

    __slots__ = ("_clock", "_kept", "_one", "_path", "_rows")

    def __init__(self, path: str, clock: Clock) -> None:
        """Read what is there; where it cannot be understood, counts begin at zero and the next `save` replaces it."""
        self._path, self._clock = path, clock
        self._one = threading.Lock()
        """Held by whoever saves."""
        self._rows: dict[str, int] = {}
        self._kept = self._read()
        """The day and the counts that are on disk; of names without a row too: they may come back today."""

    def take(self, board: Board, rows: Mapping[str, int]) -> None:
        """Go by these rows from now on, and carry over what the file says of those that are new.

        `board`: the master's. To be called before any worker counts in these rows; a board that outlived its master
        has the counts already, and keeps them.
        """
        day, counts = self._kept
        today = self._clock.day()
        for name, row in rows.items():
            if row in DAYS and name not in self._rows:
                count = counts.get(name, 0)
                if day == today and count and not board.counted(row, today):
                    board.count(row, today, count)
        self._rows = {name: row for name, row in rows.items() if row in DAYS}

    async def keep(self, board: Callable[[], Board]) -> None:
        """Save every few seconds, and once more at the end. What stands in the way is logged once."""
        well = True
        try:
            while True:
                await asyncio.sleep(EVERY)
                well = await asyncio.to_thread(self._saved, board(), well)
        finally:
            self._saved(board(), well)

    def _saved(self, board: Board, well: bool) -> bool:
        try:
            self.save(board)
        except OSError as error:
            if well:
                log.warning("cannot write %s: %s; limits of a day may begin anew with the gateway", self._path, error)
            return False
        return True

    def save(self, board: Board) -> None:
        """Write down what is counted, where that is more than is written. May wait for the disk. Raises OSError."""
        with self._one:
            self._write(board)

    def _write(self, board: Board) -> None:
        today = self._clock.day()
        day, before = self._kept
        counts = dict(before) if day == today else {}
        counts.update({name: count for name, row in self._rows.items() if (count := board.counted(row, today))})
        if (today, counts) == self._kept or not counts:
            return
        beside = f"{self._path}.new"
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(json.dumps({"day": today, "counts": counts}, indent=1, ensure_ascii=False).encode())
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, self._path)
        self._kept = (today, counts)

    def _read(self) -> tuple[int, dict[str, int]]:
        try:
            with open(self._path, "rb") as file:
                return _understood(json.load(file))
        except FileNotFoundError:
            pass
        except (ValueError, OSError) as error:
            log.warning("cannot read %s: %s; limits of a day begin at zero", self._path, error)
        return 0, {}


def _understood(found: object) -> tuple[int, dict[str, int]]:
    """Raises ValueError."""
    if isinstance(found, dict):
        day, counts = (cast("dict[str, object]", found).get(key) for key in ("day", "counts"))
        if isinstance(day, int) and isinstance(counts, dict):
            known = cast("dict[str, object]", counts)
            return day, {name: count for name, count in known.items() if isinstance(count, int) and count > 0}
    raise ValueError("it is not what was written")
