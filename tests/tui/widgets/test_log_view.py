"""The widget that shows logs, by itself."""

from textual.app import App
from textual.geometry import Region

from reconciler.model.answers import LogPage
from tests.eventually import eventually, eventually_async
from tui.source import Source
from tui.theme import DARK
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
