"""Chat: a model is chosen, asked, heard as it speaks, stopped; and what was said stays while other screens are seen."""

import contextlib
import json
import queue
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace

import pytest
from textual.events import Key, Paste
from textual.geometry import Region

from reconciler.model.status import GatewayStatus
from tests.api.daemon import status, workload
from tests.cli.front import Front, events, running
from tests.eventually import eventually_async
from tests.tui.daemon import Daemon
from tui.app import Dashboard
from tui.screens.chat import Chat, Draft
from tui.screens.palette import Palette
from tui.screens.workload import WorkloadScreen
from tui.widgets.canvas import Canvas
from tui.widgets.keys import Keys


@pytest.fixture
def front():
    with running() as made:
        made.says = events("Hello ", "there", usage=(9, 2))
        yield made


@pytest.fixture
def daemon(tmp_path, front):
    up = GatewayStatus(listen=(front.url,), connected=True)
    with Daemon(tmp_path / "sock", status(workload("chat"), workload("small"), gateway=up)) as served:
        yield served


class Pieces:
    """What a model says while it is heard."""

    def __init__(self, front: Front) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        front.says = self

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._queue.get(timeout=30)) is not None:
            yield piece

    def say(self, text: str, part: str = "content") -> None:
        self._queue.put(b"data: " + json.dumps({"choices": [{"delta": {part: text}}]}).encode() + b"\n\n")

    def wait(self, note: str) -> None:
        self._queue.put(f": {note}\n\n".encode())

    def end(self) -> None:
        self._queue.put(b"data: [DONE]\n\n")
        self._queue.put(None)


@contextlib.asynccontextmanager
async def chat(daemon: Daemon, *, size=(90, 30), model: str = "chat", **more) -> AsyncGenerator[tuple]:
    """The screen, with that model, or before one was chosen."""
    app = Dashboard({"": daemon.client}, theme="dark", **more)
    async with app.run_test(size=size) as pilot:
        await eventually_async(lambda: app.world.machines[""].status is not None)
        app.visit("Chat", f"/{model}" if model else "")
        await eventually_async(lambda: isinstance(app.screen, Chat) and app.screen.is_mounted)
        yield app, pilot


def shown(app: Dashboard) -> str:
    """What can be read between header and keys."""
    seen = [each for each in app.screen.query(Canvas) if each.display and each.id in ("models", "talk")]
    return "\n".join(strip.text for each in seen for strip in each.render_lines(Region(0, 0, *each.size)))


async def reads(app: Dashboard, *texts: str) -> None:
    await eventually_async(lambda: all(text in shown(app) for text in texts), what=f"{texts}")


async def test_a_model_is_chosen_and_asked(daemon, front):
    async with chat(daemon, model="") as (app, pilot):
        await reads(app, "Talk to which model?", "chat", "small")
        await pilot.press("j", "enter")
        await reads(app, "small ● ready", "Ask small something.")
        await pilot.press(*"hi", "enter")
        await reads(app, "▌ hi", "Hello there", "to the first token", "2 tokens")
    assert [(each["model"], each["messages"][0]["content"]) for each in front.asked] == [("small", "hi")]


async def test_who_comes_from_a_workload_talks_to_it(daemon):
    async with chat(daemon, model="small") as (app, _):
        await reads(app, "small ● ready")
        await eventually_async(lambda: isinstance(app.focused, Draft))


async def test_c_on_a_workload_talks_to_it_and_one_comes_back_there(daemon):
    app = Dashboard({"": daemon.client}, theme="dark")
    async with app.run_test(size=(90, 30)) as pilot:
        await eventually_async(lambda: app.screen.query("#fleet") and app.screen.query_one("#fleet", Canvas).key)
        fleet = app.screen
        await pilot.press("j", "c")
        await eventually_async(lambda: isinstance(app.screen, Chat) and app.screen.is_mounted)
        await reads(app, "small ● ready")
        await pilot.press("escape", "escape")
        await eventually_async(lambda: app.screen is fleet)
        await pilot.press("enter")
        await eventually_async(lambda: isinstance(app.screen, WorkloadScreen) and app.screen.is_mounted)
        page = app.screen
        await pilot.press("c")
        await reads(app, "small ● ready")
        await pilot.press("escape", "escape")
        await eventually_async(lambda: app.screen is page)
        await pilot.press("5")
        await eventually_async(lambda: isinstance(app.screen, Chat) and app.screen.is_mounted)
        await reads(app, "small ● ready")


async def test_an_answer_is_seen_as_it_comes(daemon, front):
    model = Pieces(front)
    async with chat(daemon) as (app, pilot):
        await pilot.press(*"hi", "enter")
        await reads(app, "◌ waiting for its first word")
        model.wait("waiting for chat: loading 1 of 4 GiB")
        await reads(app, "◌ waiting for chat: loading 1 of 4 GiB")
        model.say("let me see", "reasoning_content")
        await reads(app, "┊ let me see")
        model.say("**so**")
        await reads(app, "so", "▸ it thought, in 3 words")
        assert "waiting" not in shown(app)
        await pilot.press("ctrl+t")
        await reads(app, "┊ let me see", "so")
        model.say(" it is")
        model.end()
        await reads(app, "so it is", "in all")


async def test_escape_stops_it_and_what_came_is_remembered(daemon, front):
    model = Pieces(front)
    async with chat(daemon) as (app, pilot):
        await pilot.press(*"hi", "enter")
        model.say("half")
        await reads(app, "half")
        await pilot.press("escape")
        await reads(app, "half", "stopped")
        model.end()
        front.says = events("more")
        await pilot.press(*"go", "enter")
        await reads(app, "▌ go", "more")
    assert [each["content"] for each in front.asked[1]["messages"]] == ["hi", "half", "go"]


@pytest.mark.parametrize("key", ["escape", "ctrl+c"])
async def test_it_is_stopped_from_where_keys_are_keys_too(daemon, front, key):
    model = Pieces(front)
    async with chat(daemon) as (app, pilot):
        await pilot.press("escape")
        await eventually_async(lambda: isinstance(app.focused, Canvas))
        await pilot.press("i", *"hi", "enter")
        model.say("half")
        await reads(app, "half", "so far")
        await pilot.click("#talk")
        await eventually_async(lambda: isinstance(app.focused, Canvas))
        await pilot.press(key)
        await reads(app, "half", "stopped", "in all")
        assert isinstance(app.screen, Chat)
        assert app.is_running
        model.end()


async def test_who_leaves_the_dashboard_ends_the_answer(daemon, front):
    model = Pieces(front)
    async with chat(daemon) as (app, pilot):
        await pilot.press(*"hi", "enter")
        model.say("half")
        await reads(app, "half")
        talk = app.screen.talk
    await eventually_async(lambda: not talk.answering)
    assert talk.turns[-1].stopped
    model.end()


async def test_a_question_may_have_several_lines_and_is_found_again(daemon, front):
    async with chat(daemon) as (app, pilot):
        await pilot.press(*"one", "ctrl+j", *"two", "enter")
        await reads(app, "▌ one", "▌ two", "Hello there")
        draft = app.screen.query_one(Draft)
        assert draft.text == ""
        await pilot.press("up")
        await eventually_async(lambda: draft.text == "one\ntwo")
        await pilot.press("ctrl+c")
        await eventually_async(lambda: draft.text == "")
    assert front.asked[0]["messages"][0]["content"] == "one\ntwo"


async def test_nothing_and_what_comes_too_soon_is_not_asked(daemon, front):
    model = Pieces(front)
    async with chat(daemon) as (app, pilot):
        await pilot.press("enter", "space", "enter")
        await pilot.press(*"hi", "enter", *"more", "enter")
        model.say("yes")
        await reads(app, "yes")
        assert app.screen.query_one(Draft).text == "more", "it is kept until it can be asked"
        model.end()
    assert len(front.asked) == 1


async def test_what_is_typed_in_the_moment_a_question_is_sent_is_for_the_next(daemon, front):
    model = Pieces(front)
    async with chat(daemon) as (app, _):
        for letter in "hi\rmore":
            app.post_message(Key("enter" if letter == "\r" else letter, letter))
        await reads(app, "▌ hi")
        await eventually_async(lambda: app.screen.query_one(Draft).text == "more")
        model.end()


async def test_what_was_said_stays_while_other_places_are_seen(daemon, front):
    model = Pieces(front)
    async with chat(daemon) as (app, pilot):
        await pilot.press(*"hi", "enter")
        model.say("first")
        await reads(app, "first")
        app.visit("Fleet")
        await eventually_async(lambda: not isinstance(app.screen, Chat))
        model.say(" second")
        model.end()
        app.visit("Chat")
        await reads(app, "first second")
        app.visit("Chat", "/small")
        await reads(app, "Ask small something.")
        await pilot.press("ctrl+o")
        await reads(app, "Talk to which model?")
        assert app.screen.query_one("#models", Canvas).key == "/small"
        await pilot.press("k", "enter")
        await reads(app, "first second")


async def test_the_choice_is_narrowed_by_words_and_left_again(daemon):
    async with chat(daemon, model="") as (app, pilot):
        models = app.screen.query_one("#models", Canvas)
        await pilot.press("slash", *"sma")
        await eventually_async(lambda: [key for key in models.picture.keys if key] == ["/small"])
        assert [does for _, _, does in app.screen.query_one(Keys)._keys] == ["show all"]
        await pilot.press("enter", "enter")
        await reads(app, "Ask small something.")
        await pilot.press("ctrl+o", "escape")
        await eventually_async(lambda: [key for key in models.picture.keys if key] == ["/chat", "/small"])
        await pilot.press("escape")
        await reads(app, "Ask small something.")


async def test_another_conversation_is_seen_to_its_end(daemon, front):
    front.says = events("\n\n".join(f"line {number}" for number in range(40)))
    async with chat(daemon, size=(60, 16)) as (app, pilot):
        for name in ("chat", "small"):
            app.visit("Chat", f"/{name}")
            await reads(app, f"Ask {name} something.")
            await pilot.press(*"hi", "enter")
            await reads(app, "line 39", "in all")
        await pilot.press("pageup", "pageup")
        await eventually_async(lambda: "line 39" not in shown(app))
        app.visit("Chat", "/chat")
        await reads(app, "chat ● ready", "line 39", "in all")


async def test_what_is_pasted_is_cleaned(daemon):
    async with chat(daemon) as (app, _):
        draft = app.screen.query_one(Draft)
        app.post_message(Paste("a\x1b[2J\u202eb\nc"))
        await eventually_async(lambda: draft.text)
        assert draft.text == "ab\nc"


async def test_the_palette_has_what_is_done_here_and_nothing_of_how_one_types(daemon):
    async with chat(daemon) as (app, pilot):
        await pilot.press("ctrl+p")
        await eventually_async(lambda: isinstance(app.screen, Palette) and app.screen.is_mounted)
        names = [name.text for name in app.screen._names]
        assert {"send", "another model", "go to Fleet", "help", "quit"} <= {*names}
        assert "Cursor left" not in names
        await pilot.press(*"another", "enter")
        await reads(app, "Talk to which model?")


async def test_a_conversation_is_begun_anew(daemon, front):
    async with chat(daemon) as (app, pilot):
        await pilot.press(*"one", "enter")
        await reads(app, "Hello there", "in all")
        await pilot.press("ctrl+l")
        await reads(app, "Ask chat something.")
        await pilot.press(*"two", "enter")
        await reads(app, "▌ two", "in all")
    assert [each["content"] for each in front.asked[1]["messages"]] == ["two"]


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ((503, b'{"error": {"message": "chat is \\u001b[31mblocked: no [b]gpu"}}'), "✖ cannot chat with chat: chat is"),
        ((401, b'{"error": {"message": "show a key"}}'), "✖ cannot chat with chat: show a key"),
    ],
)
async def test_what_the_gateway_refuses_is_said_in_place(daemon, front, refusal, told):
    front.refuses = refusal
    async with chat(daemon) as (app, pilot):
        await pilot.press(*"hi", "enter")
        await reads(app, "▌ hi", told)
        front.refuses = None
        await pilot.press(*"again", "enter")
        await reads(app, "▌ again", "Hello there")
    assert [each["content"] for each in front.asked[-1]["messages"]] == ["again"]


async def test_the_key_in_the_file_is_shown(daemon, front, tmp_path):
    (tmp_path / "key").write_text("secret\n")
    async with chat(daemon, key_file=str(tmp_path / "key")) as (app, pilot):
        await pilot.press(*"hi", "enter")
        await reads(app, "Hello there", "in all")
        (tmp_path / "key").unlink()
        await pilot.press(*"oh", "enter")
        await reads(app, "▌ oh", "✖", "No such file")
    assert front.shown == ["Bearer secret"]


async def test_a_gateway_that_is_away_is_said_in_place(daemon, front):
    async with chat(daemon) as (app, pilot):
        daemon.publish(status(workload("chat")))
        await eventually_async(lambda: app.world.machines[""].status.gateway is None)
        await pilot.press(*"hi", "enter")
        await reads(app, "✖ cannot reach the gateway: none runs here; start it with")


async def test_one_talks_on_while_the_daemon_is_away(daemon, front):
    async with chat(daemon) as (app, pilot):
        await reads(app, "chat ● ready")
        daemon.close()
        await reads(app, "as it was last: its daemon is away")
        await pilot.press(*"hi", "enter")
        await reads(app, "▌ hi", "Hello there", "in all")


async def test_its_end_stays_in_sight_unless_one_scrolls_back(daemon, front):
    model = Pieces(front)
    async with chat(daemon, size=(60, 16)) as (app, pilot):
        await pilot.press(*"hi", "enter")
        for number in range(30):
            model.say(f"line {number}\n\n")
        await reads(app, "line 29")
        await pilot.press("pageup")
        await eventually_async(lambda: "line 29" not in shown(app))
        before = shown(app)
        model.say("the end")
        talk = app.screen.query_one("#talk", Canvas)
        await eventually_async(lambda: any("the end" in cell.text for line in talk.picture.lines for cell in line))
        assert [line.rstrip(" ┃│") for line in shown(app).splitlines()] == [
            line.rstrip(" ┃│") for line in before.splitlines()
        ]
        await pilot.press("pagedown", "pagedown")
        await reads(app, "the end")
        model.end()


async def test_a_model_that_goes_away_is_told_of_and_can_be_asked_all_the_same(daemon, front):
    async with chat(daemon) as (app, _):
        await reads(app, "chat ● ready")
        told = status(workload("small"), gateway=GatewayStatus(listen=(front.url,), connected=True))
        daemon.publish(told)
        await reads(app, "chat is not in the fleet")
        daemon.publish(replace(told, workloads={"chat": workload("chat", ready=0, why="no gpu is free")}))
        await reads(app, "chat ◐ starting no gpu is free")


async def test_keys_are_keys_once_the_line_is_left(daemon):
    async with chat(daemon) as (app, pilot):
        await pilot.press("1", "escape")
        assert app.screen.query_one(Draft).text == "1"
        await eventually_async(lambda: isinstance(app.focused, Canvas))
        await pilot.press("i")
        await eventually_async(lambda: isinstance(app.focused, Draft))
        await pilot.press("escape", "1")
        await eventually_async(lambda: not isinstance(app.screen, Chat))
