"""Talks to models: a list of them, and a conversation with one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Key, Paste
from textual.message import Message
from textual.widget import Widget
from textual.widgets import TextArea

from tui.screens.place import Place
from tui.talk import Talk
from tui.view.chat import Sheet, models
from tui.view.clean import clean
from tui.view.world import World
from tui.widgets.canvas import Canvas
from tui.widgets.filter import Filter


class Draft(TextArea):
    """What will be asked: one line at first, as many as are written."""

    DEFAULT_CSS = """
    Draft, Draft:focus {
        height: auto; max-height: 8; margin: 1 0; padding: 0 1; border: none; border-left: outer $ink-dim;
        color: $foreground; background: $surface;
    }
    Draft:focus { background: $panel; border-left: outer $ink-accent; }
    Draft .text-area--placeholder { color: $ink-dim; }
    Draft .text-area--cursor-line { background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "send"),
        Binding("ctrl+j", "newline", "new line"),
        Binding("alt+enter,shift+enter", "newline", "new line", show=False),
        Binding("escape", "leave", "stop writing"),
        Binding("ctrl+c", "empty", "empty the line", show=False),
        Binding("up", "earlier", "what was asked before", show=False),
        Binding("pageup", "scroll(-1)", "a page up", show=False),
        Binding("pagedown", "scroll(1)", "a page down", show=False),
    ]

    @dataclass
    class Sent(Message):
        """It is to be asked."""

        text: str

    class Left(Message):
        """Somebody has had enough of writing."""

    class Earlier(Message):
        """What was asked before is to be written again."""

    @dataclass
    class Scrolled(Message):
        """By so many pages."""

        pages: int

    def __init__(self) -> None:
        super().__init__(show_line_numbers=False, highlight_cursor_line=False, placeholder="ask something")
        self.cursor_blink = False  # nothing is drawn that did not change

    async def on_key(self, event: Key) -> None:
        """Keys that would be written into the text."""
        if event.key == "enter":
            event.prevent_default().stop()
            self.action_send()

    async def on_paste(self, event: Paste) -> None:
        """What comes from elsewhere may hold what a terminal would act on."""
        event.text = clean(event.text)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nothing is emptied where nothing is: the key is everybody's then."""
        return bool(self.text) if action == "empty" else super().check_action(action, parameters)

    def action_send(self) -> None:
        """It is written."""
        self.post_message(self.Sent(self.text))

    def action_newline(self) -> None:
        """In the middle of it."""
        self.insert("\n")

    def action_leave(self) -> None:
        """To the keys."""
        self.post_message(self.Left())

    def action_empty(self) -> None:
        """As in a shell."""
        self.replace_all("")

    def action_earlier(self) -> None:
        """In its first line: to what was asked before."""
        if self.cursor_at_first_line:
            self.post_message(self.Earlier())
        else:
            self.action_cursor_up()

    def action_scroll(self, pages: int) -> None:
        """What was said."""
        self.post_message(self.Scrolled(pages))

    def replace_all(self, text: str) -> None:
        """Write this instead, and stand at its end."""
        self.text = text
        self.move_cursor(self.document.end)


class Chat(Place):
    """One conversation with each model; that of the model that was chosen last is seen."""

    place = "Chat"
    DEFAULT_CSS = "Chat > #models, Chat > #talk { margin-top: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "stop", tooltip="stop the answer that is coming", priority=True),
        Binding("ctrl+c", "stop", "stop", tooltip="the same", show=False, priority=True),
        Binding("slash", "filter", "filter", tooltip="only those in which all words occur", key_display="/"),
        Binding("escape", "show_all", "show all", show=False),
        Binding("escape", "resume", "back", tooltip="back to what was said"),
        Binding("i", "write", "write"),
        Binding("ctrl+o", "models", "another model"),
        Binding("ctrl+l", "clear", "begin anew"),
        Binding("ctrl+t", "thoughts", "show what it thought", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._talks: dict[str, Talk] = {}
        self._key = ""
        """Of the model that is talked to; empty while one is to be chosen."""
        self._before = ""
        """That of the one before the choice."""
        self._looked_for = ""
        self._sheets: dict[str, Sheet] = {}
        self._thoughts = False
        self._recalled = 0

    def body(self) -> Iterable[Widget]:
        """The models; what was said, and what is to be."""
        yield Canvas(id="models")
        yield Filter("a name, a state, an engine: words that must occur")
        yield Canvas(id="talk")
        yield Draft()

    def on_mount(self) -> None:
        """With the models, or with the one that somebody came from."""
        self._show()

    def on_unmount(self) -> None:
        """Nobody listens any more."""
        for talk in self._talks.values():
            talk.close()

    def arrive(self, key: str) -> None:
        """From a workload: talk to it."""
        self._turn(key)

    @property
    def talk(self) -> Talk | None:
        """The conversation that is seen."""
        return self._talks.get(self._key)

    def _turn(self, key: str) -> None:
        """To a model by its key, or to the choice."""
        self._key, self._before, self._recalled = key, self._key, 0
        if key and key not in self._talks:
            machine, _, name = key.rpartition("/")
            self._talks[key] = Talk(lambda: self.board.gateway(machine), name, self.board.wake)
        if self.is_mounted:
            self._show()

    def _show(self) -> None:
        """The choice, or the conversation, to its end."""
        if not self.children:
            return  # left before it was put together
        models, filter_, talk = self.query_one("#models"), self.query_one(Filter), self.query_one("#talk", Canvas)
        models.display = not self._key
        filter_.display = not self._key and bool(self._looked_for)
        talk.display = self.query_one(Draft).display = bool(self._key)
        talk.action_end(1)
        self.set_focus(self.query_one(Draft) if self._key else models)  # at once: the next key is its
        self.draw()

    def on_descendant_focus(self) -> None:
        """Other keys do something."""
        self.call_after_refresh(self.draw)

    def paint(self, world: World) -> None:
        """Whichever is seen."""
        talk, columns = self.talk, self.size.width - 1
        if talk is None:
            picture = models(world, columns=columns, looked_for=self._looked_for)
            self.query_one("#models", Canvas).show(picture)
            of = sum(not row.mute for row in world.rows())
            self.query_one(Filter).tell(sum(map(bool, picture.keys)), of)
            return
        row = world.find(self._key)
        sheet = self._sheets.setdefault(self._key, Sheet())
        picture = sheet.picture(talk.turns, row, talk.model, columns=columns, thoughts=self._thoughts)
        self.query_one("#talk", Canvas).show(picture, follow=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What would do nothing is not offered."""
        talk = self.talk
        if action == "stop":
            return talk is not None and talk.answering
        if action == "clear":
            return talk is not None and bool(talk.turns) and not talk.answering
        if action in ("thoughts", "models", "write"):
            return talk is not None
        if action in ("filter", "show_all"):
            return talk is None and (action == "filter" or bool(self._looked_for))
        if action == "resume":
            return talk is None and bool(self._before)
        return super().check_action(action, parameters)

    def refusal(self, key: str) -> str:
        """The list has other keys than a talk."""
        told = {"i": "choose a model to write to: enter", "slash": "/ is for the list of models: ctrl+o"}
        return told.get(key) or super().refusal(key)

    # -- what is done

    def on_canvas_chosen(self, chosen: Canvas.Chosen) -> None:
        """Talk to that one."""
        self._turn(chosen.key)

    def on_filter_changed(self, changed: Filter.Changed) -> None:
        """Show what is left."""
        self._looked_for = changed.text
        self.draw()

    def on_filter_left(self, _left: Filter.Left) -> None:
        """The keys are the table's again."""
        self.query_one("#models").focus()

    def on_draft_sent(self, sent: Draft.Sent) -> None:
        """Ask it, once the answer before has ended."""
        if self.talk is not None and sent.text.strip() and not self.talk.answering:
            self._recalled, draft = 0, self.query_one(Draft)
            draft.replace_all(draft.text.removeprefix(sent.text))  # what was typed since is for the next
            self.query_one("#talk", Canvas).action_end(1)
            self.talk.ask(sent.text.strip())

    def on_draft_left(self) -> None:
        """To where keys are keys."""
        self.query_one("#talk").focus()

    def on_draft_earlier(self) -> None:
        """One question further back."""
        asked = [turn.question for turn in self.talk.turns] if self.talk is not None else []
        if self._recalled < len(asked):
            self._recalled += 1
            self.query_one(Draft).replace_all(asked[-self._recalled])

    def on_draft_scrolled(self, scrolled: Draft.Scrolled) -> None:
        """What was said."""
        self.query_one("#talk", Canvas).action_page(scrolled.pages)

    def action_stop(self) -> None:
        """End the answer that is coming."""
        if self.talk is not None:
            self.talk.stop()

    def action_filter(self) -> None:
        """Type what is looked for."""
        self.query_one(Filter).open()

    def action_show_all(self) -> None:
        """Nothing is looked for any more."""
        self.query_one(Filter).clear()

    def action_write(self) -> None:
        """Go on writing."""
        self.set_focus(self.query_one(Draft))  # at once: the next key is a letter

    def action_models(self) -> None:
        """Choose another."""
        key = self._key
        self._turn("")
        self.query_one("#models", Canvas).point(key)

    def action_resume(self) -> None:
        """To the conversation that there was before."""
        self._turn(self._before)

    def action_clear(self) -> None:
        """Forget what was said."""
        if self.talk is not None:
            self.talk.clear()
            self.draw()

    def action_thoughts(self) -> None:
        """Show what it thought, or only that it did."""
        self._thoughts = not self._thoughts
        self.draw()
