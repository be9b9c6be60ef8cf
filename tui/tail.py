"""Reads logs in threads for whoever looks at them: pages of them when asked, and what is written while it is followed.

It keeps up with any flood by passing most of it by; what was passed by is said.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from reconciler.model.answers import LogPage
from reconciler.model.errors import ApiError
from reconciler.model.quantity import print_size
from tui.source import RUN, Source
from tui.view.log_find import Filter
from tui.view.log_line import CONTEXT, LONGEST, Cutter, LogLine
from tui.view.log_news import Earlier, Failed, Found, Later, Looked, News, Opened, Size
from tui.view.log_walk import Log, beside, note, resumed, together_back, together_forth

PACE = 0.2
"""Seconds between two looks at a log that is being written."""
BEHIND = 131072
"""Bytes of a look, beyond which it goes on near the end; with a filter, eight times as many."""
NEAR = 32768
FIRST = CONTEXT + LONGEST
"""Bytes that are read of the end at first: lines for a screen, in one reading."""
_UNTAKEN = 8
"""So much news of each log waits to be taken, at most."""
_WAIT = 5
_AGAIN = 1.0
_SOON = 0.1
"""Seconds between two reports of how far a search is."""
_UNLIKELY = (ValueError, TypeError, LookupError, ArithmeticError)
"""What a daemon may cause that says what none of ours does."""


class _StoppedError(Exception):
    """Nobody wants it any more."""


@dataclass(slots=True)
class _Job:
    """Something that is done in a thread, until it is stopped."""

    tail: "Tail"
    stopped: threading.Event = field(default_factory=threading.Event)
    read: int = 0
    told: float = 0.0
    flush: Callable[[], None] = lambda: None
    """Tells what was found so far."""

    def watch(self, read: int) -> None:
        """So much was read. Raises _StoppedError."""
        if self.stopped.is_set():
            raise _StoppedError
        self.read += read
        now = time.monotonic()
        self.told = self.told or now
        if now > self.told + self.tail.soon:
            self.told = now
            self.flush()
            self.tell(Looked(read=self.read))

    def tell(self, *news: News) -> None:
        """Unless it was stopped."""
        self.tail.put(self, news)

    def fail(self, why: str) -> None:
        """Say so, and be under way for a while: whoever wants it asks again at once."""
        self.tell(Failed(why=why))
        self.stopped.wait(self.tail.again)


class Tail:
    """Some logs, while they are looked at. All its methods return at once; what comes of them is taken with `take`."""

    def __init__(
        self, sources: Sequence[Source], wake: Callable[[bool], None], *, soon: float = _SOON, again: float = _AGAIN
    ) -> None:
        """`wake` is called in threads of ours when there is something to take, with whether somebody waits for it.

        `soon`: seconds after which what was found is told, while more is looked for. `again`: seconds for which nothing
        is read after it could not be; what was asked for is under way till then.
        """
        self.soon, self.again = soon, again
        self._sources = tuple(sources)
        self._wake = wake
        self._lock = threading.Lock()
        self._news: list[tuple[_Job, News]] = []
        self._reading: _Job | None = None
        self._following: _Job | None = None

    def take(self) -> list[News]:
        """What has come of what was asked."""
        with self._lock:
            news, self._news = self._news, []
        return [each for job, each in news if not job.stopped.is_set()]

    def put(self, job: _Job, news: Sequence[News]) -> None:
        """For jobs: say it."""
        if not job.stopped.is_set():
            with self._lock:
                self._news += ((job, each) for each in news)
            if job is self._following:
                self._wake(False)
            elif not all(isinstance(each, Size | Opened) for each in news):  # what they are about comes next
                self._wake(True)

    @property
    def full(self) -> bool:
        """Whether so much has come that nobody took, as where a terminal stalls, that what follows is passed by."""
        return len(self._news) >= _UNTAKEN * len(self._sources)

    @property
    def busy(self) -> bool:
        """Whether something that was asked for is under way."""
        return self._reading is not None

    @property
    def follows(self) -> bool:
        """Whether what is written comes by itself."""
        return self._following is not None

    def stop(self) -> None:
        """Stop what is under way, but following."""
        self._read(None)

    def rest(self) -> None:
        """Do not follow any more."""
        if self._following is not None:
            self._following.stopped.set()
            self._following = None

    def close(self) -> None:
        """Stop all."""
        self.stop()
        self.rest()

    # -- what can be asked

    def open(self, keep: Filter, count: int) -> None:
        """The end, and `count` lines before it."""
        self.rest()
        self._start(lambda job: self._open(job, keep, count))

    def open_at(self, keep: Filter, count: int, at: Mapping[int, int], show: LogLine | None) -> None:
        """`count` lines before and after addresses; or a line, with what others said at its time."""
        self.rest()
        self._start(lambda job: self._open_at(job, keep, count, at, show))

    def earlier(self, keep: Filter, count: int, lo: Mapping[int, int], hi: Mapping[int, int]) -> None:
        """`count` lines more before those that are there, which begin at `lo` and end at `hi`."""
        self._start(lambda job: self._earlier(job, keep, count, lo, hi, logs=self._logs(job, lo)))

    def later(self, keep: Filter, count: int, hi: Mapping[int, int]) -> None:
        """`count` lines more after those that are there."""
        self._start(lambda job: self._later(job, keep, count, hi))

    def find(self, keep: Filter, at: Mapping[int, int], *, back: bool) -> None:
        """The next line of all that `keep` keeps."""
        self._start(lambda job: self._find(job, keep, at, back=back))

    def follow(self, keep: Filter, hi: Mapping[int, int]) -> None:
        """What is written from now on, beginning with `hi`, where lines begin."""
        self.rest()
        job = self._following = _Job(self)
        for number, source in enumerate(self._sources):
            work = _Following(job, number, source, keep, hi.get(number))
            threading.Thread(target=work.run, name=f"log {number}", daemon=True).start()

    # -- how it is done

    def _start(self, work: Callable[[_Job], None]) -> None:
        job = _Job(self)

        def run() -> None:
            try:
                work(job)
            except _StoppedError:
                return
            except ApiError as error:
                job.fail(str(error))
            except _UNLIKELY as error:
                job.fail(_nonsense(error))
            finally:
                with self._lock:
                    if self._reading is job:
                        self._reading = None
                job.tell(Looked(read=job.read))

        self._read(job)
        threading.Thread(target=run, name="log", daemon=True).start()

    def _read(self, job: _Job | None) -> None:
        """This instead of what is under way, which may come to its end at this moment."""
        with self._lock:
            before, self._reading = self._reading, job
        if before is not None:
            before.stopped.set()

    def _logs(self, job: _Job, at: Mapping[int, int]) -> list[Log]:
        return [Log(source=number, pages=self._sources[number], watch=job.watch) for number in at]

    def _open(self, job: _Job, keep: Filter, count: int) -> None:
        hi: dict[int, int] = {}
        logs: list[Log] = []
        missing: ApiError | None = None
        for number, source in enumerate(self._sources):
            try:
                page = source(at=None, back=True, size=FIRST)
            except ApiError as error:
                if error.status != 404:
                    raise
                missing = error
                continue
            job.tell(_size(number, page, source))
            whole = page.data.rfind(b"\n") + 1 or max(0, len(page.data) - LONGEST)
            page = replace(page, data=page.data[:whole])
            hi[number] = page.at + whole
            logs.append(Log(source=number, pages=_Held(source, page), watch=job.watch))
        if not hi and missing is not None:
            raise missing
        job.tell(Opened(lo=hi, hi=hi, end=True))
        self._earlier(job, keep, count, hi, hi, logs=logs)

    def _open_at(self, job: _Job, keep: Filter, count: int, at: Mapping[int, int], show: LogLine | None) -> None:
        places, logs = dict(at), self._logs(job, at)
        if show is not None:
            places[show.source] = show.at
            for log in logs:
                if log.source != show.source:
                    places[log.source] = beside(log, show, places)
        job.tell(Opened(lo=places, hi=places))
        self._later(job, keep, count, places)
        self._earlier(job, keep, count, places, places, logs=logs)

    def _earlier(
        self, job: _Job, keep: Filter, count: int, lo: Mapping[int, int], hi: Mapping[int, int], *, logs: Sequence[Log]
    ) -> None:
        places = dict(lo)

        def tell(lines: list[LogLine], *, done: bool) -> None:
            places.update((line.source, line.at) for line in lines)
            job.tell(Earlier(lines=lines[::-1], lo=dict(places), first=done))

        _deal(job, together_back(logs, lo, hi, keep), count, tell)

    def _later(self, job: _Job, keep: Filter, count: int, hi: Mapping[int, int]) -> None:
        places, logs = dict(hi), self._logs(job, hi)

        def tell(lines: list[LogLine], *, done: bool) -> None:
            places.update((line.source, line.end) for line in lines)
            if done:
                places.update((log.source, log.reached) for log in logs if log.reached is not None)
            job.tell(Later(lines=lines, hi=dict(places), last=done))

        _deal(job, together_forth(logs, hi, hi, keep), count, tell)

    def _find(self, job: _Job, keep: Filter, at: Mapping[int, int], *, back: bool) -> None:
        logs = self._logs(job, at)
        walk = together_back(logs, at, at, keep) if back else together_forth(logs, at, at, keep)
        job.tell(Found(line=next((line for line in walk if not line.note), None)))


@dataclass(frozen=True, slots=True)
class _Held:
    """A log of which a part was read already."""

    source: Source
    page: LogPage

    def __call__(self, *, at: int | None, back: bool, size: int) -> LogPage:
        held = self.page
        return (
            held if back and held.data and at == held.at + len(held.data) else self.source(at=at, back=back, size=size)
        )


class _Tell(Protocol):
    def __call__(self, lines: list[LogLine], *, done: bool) -> None: ...


def _deal(job: _Job, walk: Iterator[LogLine], count: int, tell: _Tell) -> None:
    """Tell so many lines, or all; those that are far between as they are found."""
    lines: list[LogLine] = []

    def flush() -> None:
        if lines:
            tell(lines[:], done=False)
            lines.clear()

    job.flush = flush
    for number, line in enumerate(walk, start=1):
        lines.append(line)
        if number >= count:
            flush()
            return
    tell(lines, done=True)


class _Following:
    """What one log goes on to say, told as it comes, or as much of it as can be read."""

    def __init__(self, job: _Job, number: int, source: Source, keep: Filter, hi: int | None) -> None:
        self._job, self._number, self._source, self._keep = job, number, source, keep
        self._cutter = None if hi is None else Cutter(number, hi)
        self._wait = 0
        self._failed = False
        self._lost = False

    def run(self) -> None:
        """Until the job is stopped, or nothing can come any more."""
        pause = 0.0
        while not self._job.stopped.wait(pause):
            pause = PACE
            if self._job.tail.full:
                continue
            try:
                if not self._look():
                    return
                self._failed = False
            except ApiError as error:
                pause = self._job.tail.again
                if error.status == 404 and self._source.run is None and self._cutter is not None:
                    self._cutter, self._lost = None, True  # of a newer run there may be one
                else:
                    self._fail(str(error))
            except _UNLIKELY as error:
                pause = self._job.tail.again
                self._fail(_nonsense(error))
            self._wait = _WAIT

    def _fail(self, why: str) -> None:
        """Say so, once."""
        if not self._failed:
            self._failed = True
            self._job.tell(Failed(why=why))

    def _look(self) -> bool:
        """Read what there is; whether more may come."""
        if self._cutter is None:
            page = self._source(at=None, back=True, size=1)
            self._cutter = Cutter(self._number, page.first)
            if self._lost:
                self._begin(page.first, f"what came before is gone; run {page.run} is there")
        most = BEHIND * 8 if self._keep.patterns else BEHIND
        page = self._source(at=self._cutter.end, back=False, size=most, wait=self._wait)
        if not page.data and page.end < self._cutter.end:
            self._begin(page.first, "the log was cut short")
            return True
        if not page.data:
            return self._quiet(page)
        lines: list[LogLine] = []
        skipped = 0
        if page.first > self._cutter.end or page.end - self._cutter.end > most:
            passed = self._cutter.end
            if page.end - page.at > most:
                page = self._source(at=page.end, back=True, size=NEAR)
            self._cutter, page = resumed(self._number, page)
            skipped = page.at - passed
            lines.append(note(self._number, page.at, f"{print_size(skipped)} passed by"))
        cutter = self._cutter
        if cutter.may_hold(page.data, self._keep.may_keep):
            lines += filter(self._keep.keeps, cutter.feed(page.data, page.at))
            if (rest := cutter.unfinished()) and self._keep.keeps(rest):
                lines.append(rest)
        else:
            cutter.pass_by(page.data, page.at)
        self._job.tell(
            Later(lines=lines, hi={self._number: cutter.at}, last=True, skipped=skipped),
            _size(self._number, page, self._source),
        )
        return True

    def _quiet(self, page: LogPage) -> bool:
        size = _size(self._number, page, self._source)
        if not self._wait or size.ended or self._failed:
            self._job.tell(Later(lines=(), hi={}, last=True), size)
        if page.newest > page.run and not size.ended:
            self._begin(page.newest * RUN, f"run {page.newest} began")
        return not size.ended

    def _begin(self, at: int, said: str) -> None:
        """Go on with the beginning of something else."""
        self._cutter, self._lost, self._wait = Cutter(self._number, at), False, 0
        self._job.tell(Later(lines=(note(self._number, at, said),), hi={self._number: at}, last=True))


def _size(number: int, page: LogPage, source: Source) -> Size:
    ended = source.run is not None and page.newest > page.run
    return Size(source=number, first=page.first, end=page.end, ended=ended)


def _nonsense(error: Exception) -> str:
    return f"cannot make sense of the log as the daemon tells it: {error!r}; if it is of another version, restart it"
