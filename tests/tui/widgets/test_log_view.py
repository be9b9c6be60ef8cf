"""The widget that shows logs, by itself."""

import threading

from textual.app import App
from textual.geometry import Region

from reconciler.model.answers import LogPage
from tests.eventually import eventually, eventually_async
from tui.source import Source
from tui.theme import DARK
from tui.view.log_find import Pattern
from tui.view.log_level import Level
from tui.widgets.log_view import LogView


def one_line(run, **_asked) -> LogPage:
    return LogPage(run=run or 1, newest=1, first=0, end=6, at=0, data=b"hello\n")


class Untold(LogView):
    """Nobody tells it that there is something, or how large it is."""

    def advance(self) -> None:
        pass


class Alone(App):
    def __init__(self) -> None:
        super().__init__()
        self.register_theme(DARK)
        self.theme = DARK.name
        self.view = Untold(lambda _asked: None)

    def compose(self):
        self.view.open([Source(reader=one_line)], ())
        eventually(lambda: not self.view._tail.busy)
        yield self.view


async def test_what_was_read_before_it_is_laid_out_is_seen_at_first_sight():
    app = Alone()
    async with app.run_test(size=(40, 10)):
        await eventually_async(lambda: app.view.size)
        assert "hello" in app.view.render_lines(Region(0, 0, 40, 10))[0].text


class Long:
    """A log whose beginning is far away: who reads towards it waits until `near`."""

    def __init__(self) -> None:
        self.data = b"".join(b"line %d\n" % number for number in range(30_000))
        self.near = threading.Event()

    def read(self, run, *, at=None, back=False, size=0, wait=0.0) -> LogPage:
        if back and at is not None and at < len(self.data) // 2:
            self.near.wait(30.0)
        end = len(self.data)
        if back:
            last = end if at is None else at
            first = max(0, last - size)
        else:
            first, last = at or 0, min(end, (at or 0) + size)
        return LogPage(run=run or 1, newest=1, first=0, end=end, at=first, data=self.data[first:last])


class Looking(App):
    def __init__(self, log: Long) -> None:
        super().__init__()
        self.register_theme(DARK)
        self.theme = DARK.name
        self.log_read = log
        self.view = LogView(self.come)

    def come(self, _asked: bool) -> None:
        self.call_later(self.view.advance)

    def compose(self):
        self.view.open([Source(reader=self.log_read.read)], ())
        yield self.view


async def test_while_a_filter_is_on_its_way_back_it_does_not_say_that_it_follows():
    log = Long()
    app = Looking(log)
    try:
        async with app.run_test(size=(40, 10)):
            await eventually_async(lambda: app.view.sheet.lines and app.view._tail.follows)
            assert app.view.follows
            app.view._tail.soon = -1.0  # how far it is, is told with every part
            app.view.narrow(Pattern("needle"), Level.DEBUG)
            await eventually_async(lambda: app.view.returns)
            assert not app.view.follows
            log.data += b"a needle\n"
            log.near.set()
            await eventually_async(lambda: [line.text for line in app.view.sheet.lines] == ["a needle"])
            assert app.view.follows
            assert not app.view.returns
    finally:
        log.near.set()
