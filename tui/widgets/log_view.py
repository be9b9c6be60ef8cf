"""Shows logs: it holds what is near to what is seen, reads more as one moves, and follows what is written."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import MouseScrollDown, MouseScrollUp, Resize
from textual.geometry import Region
from textual.strip import Strip

from tui.source import RUN, Source
from tui.tail import Tail
from tui.view.clean import clean
from tui.view.log_find import Filter, Pattern
from tui.view.log_level import Level
from tui.view.log_line import LogLine
from tui.view.log_news import Earlier, Failed, Found, Later, Looked, News, Opened, Size
from tui.view.log_picture import Look, log_picture
from tui.view.log_sheet import Sheet
from tui.view.paint import Cell, wrap
from tui.view.picture import Picture
from tui.widgets.canvas import Canvas

_WHEEL = 3
_SIDE = 16
_SCREENS = 4
"""As many screens of lines are read at once."""


class LogView(Canvas):
    """One log, or those of several instances together."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "shift(-1)", "left", show=False),
        Binding("right,l", "shift(1)", "right", show=False),
        Binding("n", "again(False)", "next hit, down", show=False),
        Binding("N", "again(True)", "next hit, up", show=False),
    ]

    def __init__(self, wake: Callable[[bool], None], *, id: str | None = None) -> None:  # noqa: A002  Textual's own word
        """`wake`: called in any thread when `advance` should be; with whether at once, for somebody waits for it."""
        super().__init__(id=id)
        self.sheet = Sheet()
        self.sizes: dict[int, Size] = {}
        self.pattern: Pattern | None = None
        """What is searched for."""
        self.filter: Pattern | None = None
        self.least = Level.DEBUG
        self.folds = False
        """Whether long lines are folded."""
        self.skipped = 0
        """Bytes that were passed by while they were written."""
        self.told = ""
        self.failed = False
        self._wake = wake
        self._tail = Tail((), wake)
        self._indices: tuple[int, ...] = ()
        self._read = 0
        self._hit: LogLine | None = None
        self._sought: LogLine | None = None  # what was found, until it can be shown
        self._back = False
        self._opening = False  # whether nothing was seen of it yet
        self._seeks = False  # whether it is being searched
        self._asleep = False
        self._fits = (0, 0)  # columns and lines that it was drawn for

    # -- what it shows

    def open(self, sources: Sequence[Source], indices: tuple[int, ...]) -> None:
        """These from now on, at their end. `indices`: which instances they are of, where there are several."""
        self._tail.close()
        self._tail = Tail(sources, self._wake)
        self.sheet = Sheet()
        self.sizes, self._indices, self.skipped, self._hit = {}, indices, 0, None
        self._opening = True
        self._say("")
        self._tail.open(self._keep, max(24, self._app.size.height))  # no more than is seen, it is waited for
        self.advance()

    def narrow(self, pattern: Pattern | None, least: Level) -> None:
        """Only lines that match, and are as grave; it stays where it is."""
        self.filter, self.least = pattern, least
        self._say("")
        if self.sheet.sticky:
            self._tail.open(self._keep, self._count)
        else:
            self._tail.open_at(self._keep, self._count, self.sheet.places(self.sheet.top), None)
        self.advance()

    def search(self, pattern: Pattern | None) -> None:
        """The nearest line that matches: from what is seen downwards, at the end upwards."""
        self.pattern, self._hit = pattern, None
        self._say("")
        if pattern is None:
            self._tail.stop()
            self._seeks = False
            self.advance()
        else:
            self.action_again(self.sheet.sticky or self.sheet.at_end)

    def sleep(self) -> None:
        """Nobody looks: read nothing. A search goes on when somebody does again."""
        self._asleep = True
        self._tail.close()

    def wake(self) -> None:
        """Somebody looks again."""
        self._asleep = False
        if self._seeks:
            self.action_again(self._back)
        self.advance()

    def stop(self) -> bool:
        """Stop a search that is under way; whether there was one."""
        busy = self._tail.busy
        self._tail.stop()
        self._seeks = False
        if busy:
            self._say("stopped")
            self.advance()
        return busy

    @property
    def busy(self) -> bool:
        """Whether something is under way that takes so long that a person may want to stop it."""
        return self.read is not None

    @property
    def follows(self) -> bool:
        """Whether what is written is shown as it comes."""
        return self.sheet.sticky and not self.ended and not self.returns

    @property
    def returns(self) -> bool:
        """Whether it is shown as it comes only once what is read of what came before is."""
        return self.sheet.sticky and not self.ended and not self._tail.follows and self.read is not None

    @property
    def ended(self) -> bool:
        """Whether nothing more will be written."""
        return bool(self.sizes) and all(size.ended for size in self.sizes.values())

    @property
    def read(self) -> int | None:
        """Bytes that were read by what is under way."""
        return self._read if self._tail.busy and self._read else None

    @property
    def runs(self) -> tuple[int, ...]:
        """By source, the run of the last line that is seen."""
        found = {source: size.end // RUN for source, size in self.sizes.items()}
        found |= {row.line.source: row.line.at // RUN for row in self.sheet.rows()}
        return tuple(run for _, run in sorted(found.items()))

    @property
    def place(self) -> float | None:
        """The share of the log that lies above the end of what is seen."""
        rows = self.sheet.rows()
        if not rows or rows[-1].line.source not in self.sizes:
            return None
        if self.sheet.sticky or self.sheet.at_end:
            return 1.0
        size, line = self.sizes[rows[-1].line.source], rows[-1].line
        first, end = (size.first, size.end) if line.at // RUN == size.first // RUN else (line.at, line.at + 1)
        return max(0.0, min(0.999, (line.end - first) / max(1, end - first)))

    # -- how it goes on

    def advance(self) -> None:
        """Take what was read, ask for what will be needed, and draw what has changed."""
        self._take_news()
        if not self.is_mounted or not self.size.width or self._asleep:
            return
        self._measure()
        if self._opening and self.sheet.lines:  # more is read once these are seen
            self._opening = False
            self.call_after_refresh(self.advance)
        else:
            self._ask()
        self.show(self._scene())

    def render_lines(self, crop: Region) -> list[Strip]:
        """It is drawn before it is told of its size: what has come until then is seen at first sight."""
        if self.size != self._fits:
            self._take_news()
            self._measure()
            self.picture, self._faces = self._scene(), []  # made of it below
        return super().render_lines(crop)

    def _take_news(self) -> None:
        for news in self._tail.take():
            self._apply(news)

    def _measure(self) -> None:
        self._fits = self.size
        self.sheet.measure(self.size.width - self._looked_at().gutter, self.size.height, folds=self.folds)

    def _scene(self) -> Picture:
        rows = self.sheet.rows()
        return log_picture(rows, self._looked_at()) if rows else self._empty()

    def _apply(self, news: News) -> None:
        match news:
            case Opened():
                self.sheet.begin(news.lo, news.hi)
                self.sheet.sticky = news.end
                self._sought = None if news.end else self._sought
                self._seeks = False
            case Earlier():
                self.sheet.prepend(news.lines, news.lo, first=news.first)
                self._heal()
            case Later():
                self.sheet.append(news.lines, news.hi, last=news.last)
                self.skipped += news.skipped
                if self._sought is not None and self.sheet.show(self._sought.source, self._sought.at):
                    self._sought = None
                self._heal()
            case Found():
                self._find(news.line)
            case Looked():
                self._read = news.read if self._tail.busy else 0
            case Size():
                self.sizes[news.source] = news
            case Failed():
                self._say(news.why, failed=True)

    def _ask(self) -> None:
        sheet, tail = self.sheet, self._tail
        if tail.follows and not sheet.sticky:
            tail.rest()
            sheet.last = False
            sheet.cut_gaps()
        if tail.busy:
            return
        if not sheet.hi:  # it could not be opened, or there was none
            tail.open(self._keep, self._count)
        elif sheet.wants_earlier:
            tail.earlier(self._keep, self._count, sheet.lo, sheet.hi)
        elif sheet.sticky:
            if not tail.follows:  # not `later`: what is flooded meanwhile is passed by, not read to its end
                tail.follow(self._keep, sheet.hi)
        elif sheet.wants_later:
            tail.later(self._keep, self._count, sheet.hi)

    def _find(self, line: LogLine | None) -> None:
        self._seeks = False
        if line is None:
            ways = ("above", "n searches down") if self._back else ("below", "N searches up")
            self._say(f"no more {ways[0]}; {ways[1]}")
            return
        self._hit = line
        self._say("")
        if not self.sheet.show(line.source, line.at):
            self._sought = line
            self._tail.open_at(self._keep, self._count, self.sheet.hi, line)

    def _say(self, text: str, *, failed: bool = False) -> None:
        self.told, self.failed = clean(text), failed

    def _heal(self) -> None:
        """What could not be read can."""
        if self.failed:
            self._say("")

    def _looked_at(self) -> Look:
        return Look(
            width=self.size.width,
            indices=self._indices,
            left=0 if self.folds else self.sheet.left,
            pattern=self.pattern,
            found=(self._hit.source, self._hit.at) if self._hit is not None else None,
        )

    def _empty(self) -> Picture:
        if self.failed:
            text = self.told
        elif self._tail.busy:
            text = "reading …"
        else:
            nothing = "nothing was written" if self.ended else "nothing has been written yet"
            text = "no line is like that" if self._keep else nothing
        lines = wrap(text, width=self.size.width, indent="  ")
        return Picture(lines=((), *((Cell(text=each, style="dim"),) for each in lines)))

    @property
    def _keep(self) -> Filter:
        return Filter(patterns=(self.filter,) if self.filter is not None else (), least=self.least)

    @property
    def _count(self) -> int:
        return _SCREENS * max(24, self.size.height)

    # -- how it is moved

    def action_move(self, by: int) -> None:
        """Lines down, or up."""
        self.sheet.scroll(by)
        self.advance()

    def action_page(self, by: int) -> None:
        """Screens down, or up."""
        self.action_move(by * max(1, self.size.height - 2))

    def action_end(self, by: int) -> None:
        """To the very first line, or to the last, to follow."""
        self._hit = None
        if by > 0 and not self.sheet.last:
            self._tail.open(self._keep, self._count)
        elif by > 0:
            self.sheet.to_last()
        elif self.sheet.first:
            self.sheet.to_first()
        else:
            first = {source: size.first for source, size in self.sizes.items()}
            self._tail.open_at(self._keep, self._count, first, None)
        self.advance()

    def action_shift(self, by: int) -> None:
        """To the right, or left."""
        self.sheet.shift(by * _SIDE)
        self.advance()

    def fold(self) -> None:
        """Fold long lines, or cut them."""
        self.folds = not self.folds
        self.advance()

    def action_again(self, back: bool) -> None:
        """The next hit, down or up."""
        if self.pattern is None:
            return
        sheet = self.sheet
        keep = Filter(patterns=(*self._keep.patterns, self.pattern), least=self.least)
        place = len(sheet.lines) if back and sheet.sticky else sheet.top
        if self._hit is not None:
            at = next((n for n, line in enumerate(sheet.lines) if (line.source, line.at) == self._hit[:2]), None)
            if at is not None and sheet.top <= at <= sheet.top + self.size.height:
                place = at if back else at + 1
        self._back, self._seeks = back, True
        self._say("")
        self._tail.find(keep, sheet.places(place), back=back)
        self.advance()

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Down."""
        self.action_move(_WHEEL)
        event.stop()

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Up."""
        self.action_move(-_WHEEL)
        event.stop()

    def on_resize(self, _event: Resize) -> None:
        """Other lines fit."""
        super().on_resize(_event)
        self.advance()

    def on_unmount(self) -> None:
        """Nobody will look again."""
        self._tail.close()
