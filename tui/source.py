"""One log as the daemon gives it, part by part, with an address for every byte of all of its runs."""

from dataclasses import dataclass, replace
from typing import Protocol

from reconciler.model.answers import LogPage

RUN = 2**48
"""An address here is that of the daemon, and the run's number times this: addresses of later runs come after."""


class Reader(Protocol):
    """`Client.log_page` of one instance."""

    def __call__(
        self, run: int | None, *, at: int | None = None, back: bool = False, size: int = 65536, wait: int = 0
    ) -> LogPage:
        """A part of its log. Raises ApiError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One log: of an instance, the run with a number, or whichever is the newest."""

    reader: Reader
    run: int | None = None

    def __call__(self, *, at: int | None, back: bool, size: int, wait: int = 0) -> LogPage:
        """A part of it, with addresses as they are here."""
        run, at = (self.run, None) if at is None else divmod(at, RUN)
        page = self.reader(run, at=at, back=back, size=size, wait=wait)
        base = page.run * RUN
        return replace(page, first=base + page.first, end=base + page.end, at=base + page.at)
