"""What a workload writes: followed, searched, filtered; of one instance or of all together; of any run that is kept."""

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import ScreenResume, ScreenSuspend
from textual.widget import Widget
from textual.widgets import Input

from reconciler.model.answers import Run
from tui.reading import Reading
from tui.screens.place import Place
from tui.screens.runs import Choice, Runs
from tui.source import Source
from tui.view.clean import line
from tui.view.log_find import Pattern
from tui.view.log_level import Level
from tui.view.log_picture import Looking, log_status, log_title
from tui.view.picture import Picture
from tui.view.world import World, index
from tui.widgets.canvas import Canvas
from tui.widgets.line import Line
from tui.widgets.log_view import LogView

_LEVELS = (Level.DEBUG, Level.WARNING, Level.ERROR)


class Asked(Line):
    """What is typed to search or filter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "take it"),
        Binding("escape", "screen.leave", "leave it"),
    ]


class Logs(Place):
    """The logs of one workload."""

    place = "Logs"
    DEFAULT_CSS = """
    Logs > #title, Logs > #state { height: 1; background: $panel; }
    Logs > #asked, Logs > #asked:focus { height: 1; border: none; padding: 0 1; background: $cursor; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "ask('search')", "search", tooltip="find a regular expression", key_display="/"),
        Binding("f", "ask('filter')", "filter", tooltip="only lines that match one"),
        Binding("e", "level", "levels", tooltip="warnings and errors, errors, or all"),
        Binding("m", "other", "instance", tooltip="one instance, the next, all together"),
        Binding("r", "runs", "runs", tooltip="another run, the first failure too"),
        Binding("w", "fold", "wrap", tooltip="fold long lines, or cut them"),
        Binding("escape", "leave", "no search", show=False),
    ]

    def __init__(self, key: str) -> None:
        """`key`: see `tui.view.world.Row`."""
        super().__init__()
        self._machine, _, self._name = key.rpartition("/")
        self._indices: tuple[int, ...] = ()
        self._one: int | None = None  # of which instance alone
        self._run: int | None = None
        self._shown: tuple[int, ...] = ()
        """The instances whose logs are seen."""
        self._choice: object = None  # by which they are
        self._asks = ""
        self._wrong = ""
        self._due = False  # whether it is to be drawn, for something came that was asked for
        self._chooses = False  # a run, as soon as it is known which there are
        self.view = LogView(self._come, id="log")

    def body(self) -> Iterable[Widget]:
        """Whose it is, the log, how the looking goes, and what is typed."""
        client, name = self.board.client(self._machine), self._name
        self._about = Reading(lambda: client.about(name), self.board.wake)
        self._open(self.board.world)  # read meanwhile
        yield Canvas(id="title", focusable=False)
        yield self.view
        yield Canvas(id="state", focusable=False)
        yield Asked(id="asked")

    @property
    def _asked(self) -> Asked:
        return self.query_one(Asked)

    def paint(self, world: World) -> None:
        """What has come."""
        row = world.find(f"{self._machine}/{self._name}")
        if row is not None and self.view.size.width:  # not before what it is opened for is seen
            self._about.want(row.workload)
        if self._chooses and self.is_current and (self._about.value is not None or self._about.error):
            self.action_runs()
        self._open(world)
        view = self.view
        view.advance()
        width = self.size.width
        looking = self._looking()
        self.query_one("#title", Canvas).show(Picture(lines=(log_title(looking, width=width),)))
        self.query_one("#state", Canvas).show(Picture(lines=(log_status(looking, width=width),)))

    def _come(self, asked: bool) -> None:
        """There is more of the log; from any thread."""
        if not asked:
            self.board.wake()
        elif not self._due:
            self._due = True
            self.call_later(self._came)

    def _came(self) -> None:
        self._due = False
        self.draw()

    def _open(self, world: World) -> None:
        """What is to be seen, if that is not what is."""
        if row := world.find(f"{self._machine}/{self._name}"):
            there = sorted({n for replica in row.workload.replicas if (n := index(replica.slot)) is not None})
            self._indices = tuple(there) or self._indices
        shown = (self._one,) if self._one is not None else self._indices or (0,)
        choice = (self._one, self._run)
        if choice == self._choice and (shown == self._shown or not self.view.sheet.sticky):
            return  # who reads what was written is not led away from it
        self._shown, self._choice = shown, choice
        client = self.board.client(self._machine)
        sources = [Source(reader=partial(client.log_page, self._name, one), run=self._run) for one in shown]
        self.view.open(sources, shown if len(shown) > 1 else ())

    def _looking(self) -> Looking:
        view = self.view
        shown = self._shown
        runs = sorted(set(view.runs))
        told, failed = (self._wrong, True) if self._wrong else (view.told, view.failed)
        return Looking(
            what=line(self._name) if len(shown) > 1 else f"{line(self._name)}/{min(shown)}",
            runs=f"run{'s' if len(runs) > 1 else ''} {', '.join(map(str, runs))}" if runs else "",
            run=self._told_of(runs[0]) if len(shown) == len(runs) == 1 else None,
            indices=shown if len(shown) > 1 else (),
            follows=view.follows,
            returns=view.returns,
            ended=view.ended,
            place=view.place,
            size=sum(size.end - size.first for size in view.sizes.values()),
            filter=view.filter.text if view.filter is not None else "",
            least=view.least,
            count=sum(not each.note for each in view.sheet.lines),
            all_held=view.sheet.first and view.sheet.last,
            skipped=view.skipped,
            search=view.pattern.text if view.pattern is not None else "",
            told=told,
            failed=failed,
            read=view.read,
        )

    def _told_of(self, run: int) -> Run | None:
        """What is known of a run of the instance that is seen."""
        runs = self._about.value.runs if self._about.value is not None else ()
        return next((each for each in runs if each.run == run and index(each.slot) == min(self._shown)), None)

    # -- what is typed

    def action_ask(self, what: str) -> None:
        """Have a pattern typed."""
        asked = self._asked
        pattern = self.view.pattern if what == "search" else self.view.filter
        self._asks = what
        asked.value = pattern.text if pattern is not None else ""
        asked.placeholder = f"{what}: a regular expression; enter to take it, nothing for none, esc to leave it"
        asked.display = True
        self.set_focus(asked)  # at once: the next key is its

    def on_input_changed(self, changed: Input.Changed) -> None:
        """Say at once what is wrong with it."""
        if self._asked.display:  # it may be told of after it was taken
            self._pattern(changed.value)
            self.draw()

    def on_input_submitted(self, submitted: Input.Submitted) -> None:
        """Search, or filter."""
        pattern = self._pattern(submitted.value)
        if self._wrong:
            self.draw()
            return
        self._close()
        if self._asks == "search":
            self.view.search(pattern)
        else:
            self.view.narrow(pattern, self.view.least)
        self.draw()

    def _pattern(self, text: str) -> Pattern | None:
        """What is typed; None where that is nothing, or wrong."""
        self._wrong = ""
        try:
            return Pattern(text) if text else None
        except ValueError as error:
            self._wrong = line(str(error))
            return None

    def _close(self) -> None:
        self._wrong = ""
        self._asked.display = False
        self.view.focus()

    # -- what else can be done

    def action_leave(self) -> None:
        """What is typed, or what is searched for."""
        if self._asked.display:
            self._close()
        elif not self.view.stop():
            self.view.search(None)
        self.draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What would do nothing leads on: `escape` goes back in the end."""
        if action == "leave":
            return self._asked.display or self.view.busy or self.view.pattern is not None
        if action == "ask":
            return not self._asked.display
        if action == "other":
            return len(self._indices) > 1
        return super().check_action(action, parameters)

    def refusal(self, key: str) -> str:
        """There is nothing to choose from."""
        return f"{self._name} has one instance alone" if key == "m" else super().refusal(key)

    def action_fold(self) -> None:
        """Fold long lines, or cut them."""
        self.view.fold()

    def action_level(self) -> None:
        """All lines, warnings and what is graver, errors."""
        least = self.view.least
        self.view.narrow(self.view.filter, _LEVELS[(_LEVELS.index(least) + 1) % len(_LEVELS)])
        self.draw()

    def action_other(self) -> None:
        """All instances together, then each."""
        choices = (None, *self._indices)
        at = choices.index(self._one) + 1 if self._one in choices else 0
        self._one = choices[at % len(choices)]
        self._run = None
        self.draw()

    def action_runs(self) -> None:
        """Choose one, once it is known which there are."""
        about = self._about.value
        self._chooses = about is None and not self._about.error
        if about is None:
            self.board.say(self._about.error or "reading which runs there are …")
        else:
            self.app.push_screen(Runs(about.runs, self.board.world.wall), self._take)  # pyright: ignore[reportUnknownMemberType]

    def _take(self, chosen: tuple[Choice] | None) -> None:
        if chosen is None:
            return
        self._one, self._run = None, None
        if chosen[0] is not None:
            slot, self._run = chosen[0]
            self._one = index(slot)
        self.draw()

    def on_screen_suspend(self, _event: ScreenSuspend) -> None:
        """Nobody looks."""
        self.view.sleep()

    def on_screen_resume(self, event: ScreenResume) -> None:
        """Somebody does again."""
        self.view.wake()
        super().on_screen_resume(event)
