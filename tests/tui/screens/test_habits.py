"""What holds on every screen: places and back, orders and questions, the palette, help, small terminals, the mouse."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from textual.css.stylesheet import Stylesheet
from textual.events import Key
from textual.widgets import Input
from textual.widgets._toast import Toast, ToastRack

from reconciler.model.status import Reason
from tests.api.daemon import status, workload
from tests.eventually import eventually_async
from tests.tui.daemon import Daemon
from tests.tui.pictures import seen
from tui.app import Dashboard
from tui.messages import Told
from tui.screens.chat import Draft
from tui.screens.confirm import Confirm
from tui.screens.fleet import Fleet
from tui.screens.help import Help
from tui.screens.index import SCREENS, kind
from tui.screens.logs import Logs
from tui.screens.palette import Palette
from tui.screens.place import PLACES, Place
from tui.screens.plan import Plan
from tui.screens.prompt import Prompt
from tui.screens.runs import Runs
from tui.screens.workload import WorkloadScreen
from tui.screens.workloads import OnWorkload
from tui.view.world import Row
from tui.widgets.canvas import Canvas
from tui.widgets.filter import Filter
from tui.widgets.keys import Keys
from tui.widgets.log_view import LogView


class Shelf(OnWorkload):
    """A screen with nothing but a row that is pointed at."""

    place = "Fleet"
    pointed = "chat"
    of: int | None = None

    def body(self):
        yield Canvas(id="shelf")

    def paint(self, world):
        pass

    @property
    def row(self) -> Row | None:
        return self.board.world.find(f"/{self.pointed}")

    @property
    def index(self) -> int | None:
        return self.of


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "sock", status(workload("chat", wanted=2, ready=2), workload("embed"))) as served:
        yield served


@contextlib.asynccontextmanager
async def shown(daemon: Daemon, *, size: tuple[int, int] = (100, 30), theme: str = "dark") -> AsyncGenerator[tuple]:
    """The dashboard of that daemon, once it knows what runs."""
    remembered: list[str] = []
    app = Dashboard({"": daemon.client}, theme=theme, remember=remembered.append)
    async with app.run_test(size=size) as pilot:
        await eventually_async(lambda: app.world.machines[""].status is not None)
        yield app, pilot, remembered


@contextlib.asynccontextmanager
async def pointed(daemon: Daemon, pointed: str = "chat", of: int | None = None) -> AsyncGenerator[tuple]:
    """The same, with one of its workloads pointed at."""
    async with shown(daemon) as (app, pilot, _):
        shelf = Shelf()
        shelf.pointed, shelf.of = pointed, of
        await app.push_screen(shelf)
        yield app, pilot


async def on(app: Dashboard, screen: type) -> None:
    """It is there, and a place is drawn."""

    def there() -> bool:
        drawn = [each for each in app.screen.query("#header, #small").results(Canvas) if each.picture.lines]
        return type(app.screen) is screen and app.screen.is_mounted and bool(drawn or not isinstance(app.screen, Place))

    await eventually_async(there, what=f"on {screen}, {app.screen}")


async def ahead(app: Dashboard) -> None:
    """Every place is there, though nobody has visited it."""
    await eventually_async(
        lambda: len(app._places) == len(PLACES) and all(each.is_mounted for each in app._places.values()),
        what="places that are put together ahead",
    )


def toasts(app: Dashboard) -> list[str]:
    return [each.message for each in app._notifications]


# -- orders


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        ("r", [("restart", "chat", {"index": None})]),
        ("p", [("pause", "chat", {})]),
        ("s y", [("stop", "chat", {})]),
        ("s enter", [("stop", "chat", {})]),
        ("s n", []),
        ("s escape", []),
        ("n 3 enter", [("scale", "chat", {"replicas": 3})]),
        ("n a u t o enter", [("scale", "chat", {"replicas": None})]),
        ("n 0 enter y", [("scale", "chat", {"replicas": 0})]),
        ("n 0 enter n", []),
        ("n 9 9 9 9 enter escape", []),
        ("n x enter backspace 4 enter", [("scale", "chat", {"replicas": 4})]),
        ("n 3 escape", []),
        ("u", []),  # nothing is held
    ],
)
async def test_a_key_orders_and_asks_first_where_something_is_lost(daemon, keys, asked):
    async with pointed(daemon) as (app, pilot):
        for key in keys.split():
            await pilot.press(key)
        if asked:
            await eventually_async(lambda: daemon.asked)
            await eventually_async(lambda: toasts(app) == [f"chat: will {asked[0][0]}"])
        assert daemon.asked == asked
        assert type(app.screen) is Shelf


async def test_one_instance_is_restarted_alone(daemon):
    async with pointed(daemon, of=1) as (_, pilot):
        await pilot.press("r")
        await eventually_async(lambda: daemon.asked == [("restart", "chat", {"index": 1})])


async def test_the_only_instance_that_answers_is_not_restarted_unasked(daemon):
    async with pointed(daemon, "embed") as (app, pilot):
        await pilot.press("r")
        await on(app, Confirm)
        assert app.screen._question == "restart embed? embed answers nobody until it has started again."
        assert daemon.asked == []


async def test_who_restarts_what_is_replaced_without_a_gap_is_not_told_of_one(daemon):
    daemon.publish(status(replace(workload("embed"), surges=True)))
    async with pointed(daemon, "embed") as (app, pilot):
        await eventually_async(lambda: app.world.find("/embed").workload.surges)
        await pilot.press("r")
        await on(app, Confirm)
        assert "Another instance starts first, then it ends" in app.screen._question
        assert "nobody" not in app.screen._question


async def test_it_is_asked_what_is_lost_by_now_and_not_what_was_when_the_key_was_pressed(daemon):
    daemon.publish(status(workload("chat", wanted=2, ready=0), workload("embed")))
    async with pointed(daemon) as (app, pilot):
        await eventually_async(lambda: app.world.find("/chat").workload.replicas[0].state != "ready")
        await pilot.press("n", "0")
        daemon.publish(status(workload("chat", wanted=2, ready=2), workload("embed")))
        await eventually_async(lambda: app.world.find("/chat").workload.replicas[0].state == "ready")
        await pilot.press("enter")
        await on(app, Confirm)
        assert daemon.asked == []


async def test_a_key_is_not_for_what_took_the_place_of_what_has_just_gone(daemon):
    async with shown(daemon) as (app, pilot, _):
        await on(app, Fleet)
        table = app.screen.query_one("#fleet", Canvas)
        await eventually_async(lambda: table.picture.keys)
        table.point("/chat")
        daemon.publish(status(workload("embed")))
        await eventually_async(lambda: table.key == "/embed")
        await pilot.press("p")
        await eventually_async(lambda: toasts(app) == ["what was pointed at has just gone: nothing was done"])
        assert daemon.asked == []
        table.strayed = 0.0
        await pilot.press("p")
        await eventually_async(lambda: daemon.asked == [("pause", "embed", {})])


async def test_a_key_is_for_what_was_looked_for_at_once(daemon):
    async with shown(daemon) as (app, pilot, _):
        await on(app, Fleet)
        table = app.screen.query_one("#fleet", Canvas)
        await eventually_async(lambda: table.picture.keys)
        table.point("/chat")
        await pilot.press("slash", *"embed", "enter", "p")
        await eventually_async(lambda: daemon.asked == [("pause", "embed", {})])


async def test_what_the_daemon_refuses_is_said(daemon):
    daemon.refusals["pause"] = (409, "not [red]now\x1b[31m")
    async with pointed(daemon) as (app, pilot):
        await pilot.press("p")
        await eventually_async(lambda: toasts(app) == ["not [red]now"])


async def test_what_would_do_nothing_is_not_offered(daemon):
    daemon.publish(status(workload("chat", paused=True, note="paused by command"), workload("embed")))
    async with pointed(daemon) as (app, _):
        assert {"u"} <= set(app.screen.active_bindings)
        offered = {key for key, active in app.screen.active_bindings.items() if active.enabled}
        assert "u" in offered
        assert "p" not in offered
        by_file = workload("chat", paused=True, paused_at="fleet.d/chat.yaml:7")
        daemon.publish(status(by_file, workload("embed")))
        await eventually_async(lambda: "u" not in app.screen.active_bindings)


@pytest.mark.parametrize(
    ("fleet", "key", "told"),
    [
        ({}, "u", "chat is neither paused nor stopped"),
        ({"paused": True, "note": "paused by command"}, "p", "chat is paused already: u resumes it"),
        ({"paused": True, "paused_at": "a.yaml:7"}, "p", "chat is paused already: remove `paused: true` at a.yaml:7"),
        ({"paused": True, "paused_at": "a.yaml:7"}, "u", "its file pauses chat: remove `paused: true` at a.yaml:7"),
        ({"kind": "Service"}, "c", "chat is a Service: only a Model can be talked to"),
        ({"alone": "embeds"}, "c", "chat embeds, as its file says: it cannot be talked to"),
    ],
)
async def test_a_key_that_would_change_nothing_says_why_and_what_would(daemon, fleet, key, told):
    daemon.publish(status(replace(workload("chat"), **fleet)))
    async with pointed(daemon) as (app, pilot):
        await eventually_async(lambda: key not in app.screen.active_bindings)
        await pilot.press(key)
        await eventually_async(lambda: toasts(app) == [told])
        assert (type(app.screen), daemon.asked) == (Shelf, [])


async def test_what_is_stopped_is_not_stopped_again_and_what_the_whole_fleet_waits_for_is_said(daemon):
    was = workload("chat", wanted=0, ready=0)
    stopped = replace(was, conditions=(replace(was.conditions[0], reason=Reason.StopAsked), *was.conditions[1:]))
    daemon.publish(replace(status(stopped, workload("embed")), paused="paused by command"))
    for name, key, told in (
        ("chat", "s", "chat is stopped already: u resumes it"),
        ("embed", "u", "embed itself is not held, the whole fleet is: P on Plan (2) resumes that"),
    ):
        async with pointed(daemon, name) as (app, pilot):
            await pilot.press(key)
            await eventually_async(lambda app=app, told=told: toasts(app) == [told])
    assert daemon.asked == []


@pytest.mark.parametrize(
    ("place", "key", "told"),
    [
        ("Fleet", "P", "P is a key of Plan (2): pause the whole fleet, or resume it"),
        ("Fleet", "v", "v is a key of Plan (2), Events (4)"),
        ("Plan", "s", "s is for a workload: point at one on Fleet (1), or open it"),
        ("GPUs", "c", "chat: no workload is pointed at"),
        ("Help", "slash", "/ is a key of Fleet (1), Events (4), Chat (5), Logs (l on a workload)"),
        ("Chat", "i", "choose a model to write to: enter"),
    ],
)
async def test_a_key_of_another_screen_says_where_it_is(daemon, place, key, told):
    async with shown(daemon) as (app, pilot, _):
        app.visit(place)
        await on(app, kind(place))
        await pilot.press(key)
        await eventually_async(lambda: toasts(app) == [told])
        assert (app.screen.place, daemon.asked) == (place, [])


async def test_a_key_that_is_nobodys_is_not_answered(daemon):
    async with shown(daemon) as (app, pilot, _):
        await on(app, Fleet)
        await pilot.press("i", "x", "f5", "ctrl+o", "tab")
        assert toasts(app) == ["i is a key of Chat (5): write"]


async def test_who_opens_what_is_no_workload_is_told(daemon):
    async with shown(daemon) as (app, _, _):
        await on(app, Fleet)
        app.screen.open_workload("/gateway")
        await eventually_async(lambda: toasts(app) == ["there is no workload gateway"])


# -- keys that come faster than anything can be drawn


def burst(app: Dashboard, *keys: str) -> None:
    """All in one piece, as over a slow line."""
    written = {"slash": "/", "enter": "\r"}
    for key in keys:
        app.post_message(Key(key, written.get(key, key if len(key) == 1 else None)))


async def test_what_is_typed_after_a_slash_is_text_however_fast(daemon):
    async with shown(daemon) as (app, _, _):
        await eventually_async(lambda: app.screen_stack and app.focused)
        burst(app, "slash", *"snpqru25", "enter")
        table = app.screen.query_one("#fleet", Canvas)
        await eventually_async(lambda: app.screen.query_one(Filter).text == "snpqru25" and table.has_focus)
        assert (type(app.screen), daemon.asked) == (Fleet, [])


async def test_what_is_searched_in_a_log_is_text_however_fast(daemon):
    async with shown(daemon) as (app, _, _):
        app.visit("Logs", "/chat")
        await on(app, Logs)
        await eventually_async(lambda: app.screen_stack and app.focused)
        burst(app, "slash", *"snpqru25")
        await eventually_async(lambda: app.screen.query_one(Input).value == "snpqru25")
        assert (type(app.screen), daemon.asked) == (Logs, [])


@pytest.mark.parametrize(
    ("keys", "asked"), [("sy", [("stop", "chat", {})]), ("sn", []), ("snp", [("pause", "chat", {})])]
)
async def test_a_question_is_answered_however_fast(daemon, keys, asked):
    async with pointed(daemon) as (app, _):
        burst(app, *keys)
        await eventually_async(lambda: daemon.asked == asked and type(app.screen) is Shelf)


async def test_who_answers_twice_answers_once(daemon):
    """The second key came before the question had gone."""
    async with shown(daemon) as (app, _, _):
        await eventually_async(lambda: app.world.find("/chat") and app.focused and app.focused.key == "/chat")
        burst(app, "n", "3", "enter", "enter")
        await eventually_async(lambda: daemon.asked == [("scale", "chat", {"replicas": 3})])
        await eventually_async(lambda: type(app.screen) is Fleet)
        burst(app, "ctrl+p", *"help", "enter", "enter")
        await on(app, Help)
        assert [type(each) for each in app.screen_stack[1:]] == [Fleet, Help]


@pytest.mark.parametrize(
    ("keys", "there"),
    [
        ("enter escape", [Fleet]),
        ("enter l", [Fleet, WorkloadScreen, Logs]),
        ("enter s escape escape", [Fleet]),
        ("enter s", [Fleet, WorkloadScreen, Confirm]),
        ("2 enter", [Plan]),
    ],
)
async def test_what_is_opened_is_there_before_the_next_key(daemon, keys, there):
    async with shown(daemon) as (app, pilot, _):
        await eventually_async(lambda: app.world.find("/chat") and app.focused and app.focused.key == "/chat")
        burst(app, *keys.split())
        await eventually_async(
            lambda: [type(each) for each in app.screen_stack[1:]] == there, what=f"{app.screen_stack}"
        )
        await pilot.pause()
        assert [type(each) for each in app.screen_stack[1:]] == there


@pytest.mark.parametrize("keys", ["c", "5 enter"])
async def test_what_is_typed_to_a_model_is_text_however_fast(daemon, keys):
    async with shown(daemon) as (app, _, _):
        await eventually_async(lambda: app.world.find("/chat") and app.focused and app.focused.key == "/chat")
        burst(app, *keys.split(), *"quit12")
        await eventually_async(lambda: [each.text for each in app.screen.query(Draft)] == ["quit12"])
        burst(app, "escape")
        await eventually_async(lambda: isinstance(app.focused, Canvas))
        burst(app, "i", *"q3")
        await eventually_async(lambda: [each.text for each in app.screen.query(Draft)] == ["quit12q3"])
        assert app.is_running


# -- places


async def test_back_leads_to_where_one_came_from(daemon):
    async with shown(daemon) as (app, pilot, _):
        await on(app, Fleet)
        fleet = app.screen
        await pilot.press("question_mark")
        await on(app, Help)
        await pilot.press("question_mark")
        assert len(app.screen_stack) == 3
        await pilot.press("escape")
        await on(app, Fleet)
        await pilot.press("escape")
        assert app.screen is fleet


async def test_a_timer_that_is_late_before_it_began_fires_all_the_same(daemon):
    """Else a resize or a drawing in a busy moment would be the last."""
    fired: list[bool] = []
    async with shown(daemon) as (app, _, _):
        app.set_timer(1e-9, lambda: fired.append(True))
        await eventually_async(lambda: fired == [True], what="it fires")


@pytest.mark.parametrize(("place", "key"), [("Workload", "right"), ("Logs", "w"), ("Chat", "ctrl+o")])
async def test_a_key_that_comes_before_the_screen_it_is_for_waits_for_that(daemon, place, key):
    async with shown(daemon) as (app, _, _):
        app.visit(place, "/chat")
        screen: Any = app.screen
        assert not screen.children, "it is not there yet"
        burst(app, key)
        done = {
            "Workload": lambda: screen._tab == "File",
            "Logs": lambda: screen.view.folds,
            "Chat": lambda: not screen._key,
        }
        await eventually_async(done[place])


async def test_a_key_that_comes_before_the_palette_waits_for_that(daemon):
    async with shown(daemon) as (app, _, _):
        burst(app, "ctrl+p", *"quit")
        await eventually_async(lambda: [each.value for each in app.screen.query(Input)] == ["quit"])


async def test_the_palette_may_be_left_before_it_was_drawn(daemon):
    """Textual keeps what is to be done after a refresh, and does it though who wanted it is gone."""
    async with shown(daemon) as (app, pilot, _):
        await pilot.press("ctrl+p")
        await on(app, Palette)
        left = app.screen
        await pilot.press("escape")
        await eventually_async(lambda: not left.children)
        left._draw()


async def test_back_leads_through_the_places_to_the_fleet_and_no_further(daemon):
    async with shown(daemon) as (app, pilot, _):
        await on(app, Fleet)
        for keys, led in (("2 4", "Plan Fleet Fleet"), ("2 4 1", "Fleet"), ("3 2 3", "Plan Fleet Fleet")):
            for key in keys.split():
                await pilot.press(key)
                await eventually_async(lambda key=key: app.screen.place == dict(PLACES)[key])
            for title in led.split():
                await pilot.press("escape")
                await eventually_async(lambda title=title: app.screen.place == title)


async def test_what_is_said_takes_the_place_of_what_was_said_before(daemon):
    async with shown(daemon) as (app, _, _):
        for told in ("the fleet is paused", "the fleet goes on"):
            app.on_told(Told(told))
            await eventually_async(lambda told=told: toasts(app) == [told])


async def test_what_is_said_hides_no_question_and_is_said_once_that_is_answered(daemon):
    async with pointed(daemon) as (app, pilot):
        app._disable_notifications = False
        app.say("before")
        await eventually_async(lambda: toasts(app) == ["before"])
        await pilot.press("n")
        await on(app, Prompt)
        app.on_told(Told("meanwhile", failed=True))
        await pilot.pause()
        assert app.screen.query_one(ToastRack)
        assert not app.screen.query(Toast)
        assert toasts(app) == ["before"]
        await pilot.press("escape")
        await eventually_async(lambda: toasts(app) == ["meanwhile"])


async def test_a_place_is_found_as_it_was_left(daemon):
    places = [title for _, title in PLACES]
    async with shown(daemon) as (app, pilot, _):
        fleet = app.screen
        await on(app, Fleet)
        table = fleet.query_one("#fleet", Canvas)
        await eventually_async(lambda: table.picture.keys)
        table.point("/embed")
        for title in [*places[1:], "Fleet"]:
            app.visit(title)
            await pilot.pause()
        assert app.screen is fleet
        assert table.key == "/embed"


async def test_a_click_on_a_tab_goes_there(daemon):
    async with shown(daemon) as (app, pilot, _):
        app.visit("Help")
        await on(app, Help)
        line = "".join(cell.text for cell in app.screen.query_one("#header", Canvas).picture.lines[0])
        await pilot.click("#header", offset=(line.rindex("Fleet") + 1, 0))
        await on(app, Fleet)


@pytest.mark.parametrize("size", [(59, 24), (80, 14), (20, 5), (3, 1)])
async def test_a_small_terminal_is_told_so_and_a_larger_one_shows_all(daemon, size):
    async with shown(daemon, size=size) as (app, pilot, _):
        small = app.screen.query_one("#small", Canvas)
        await eventually_async(lambda: small.display and small.picture.lines)
        assert not app.screen.query_one("#header", Canvas).display
        await pilot.resize_terminal(60, 15)
        await eventually_async(lambda: not small.display and app.screen.query_one("#header", Canvas).picture.lines)


@pytest.mark.parametrize("columns", [60, 80, 100])
async def test_where_not_all_keys_fit_the_one_that_tells_of_them_does(daemon, columns):
    async with shown(daemon, size=(columns, 24)) as (app, pilot, _):
        await on(app, Fleet)
        keys = app.screen.query_one(Keys)
        await eventually_async(lambda: keys.render_line(0).text.rstrip().endswith("? help"))
        assert len(keys.render_line(0).text.rstrip()) <= columns
        await pilot.click(Keys, offset=(keys.render_line(0).text.index("? help"), 0))
        await on(app, Help)


MODALS = {
    "Runs": lambda _: Runs((), 0.0),
    "Confirm": lambda _: Confirm("stop it?"),
    "Palette": Palette,
}


@pytest.mark.parametrize("screen", [*SCREENS, *MODALS])
async def test_the_dashboard_may_be_left_in_the_moment_a_screen_opens(daemon, screen):
    for turns in range(3):
        async with shown(daemon) as (app, _, _):
            if screen in SCREENS:
                app.visit(screen, "/chat" if screen in ("Workload", "Logs", "Chat") else "")
            else:
                app.push_screen(MODALS[screen](app.screen))
            for _ in range(turns):
                await asyncio.sleep(0)
            app.exit()
        assert app.return_code == 0


async def test_a_place_may_be_told_something_while_the_dashboard_is_taken_down(daemon):
    async with shown(daemon) as (app, _, _):
        await on(app, Fleet)
        fleet, table = app.screen, app.screen.query_one("#fleet", Canvas)
        app.visit("Plan")
        await on(app, Plan)
        app.exit()
    with app._context():
        fleet.on_canvas_moved(Canvas.Moved(table, "/chat"))
        fleet.on_filter_changed(Filter.Changed("chat"))


async def test_places_are_put_together_ahead_and_nothing_is_drawn_or_asked_for_them(daemon):
    async with shown(daemon) as (app, _, _):
        await ahead(app)
        places = [screen for title, screen in app._places.items() if title != "Fleet"]
        assert not any(canvas.picture.lines for screen in places for canvas in screen.query(Canvas))
        assert "/plan" not in daemon.seen


async def test_styles_are_parsed_once_and_not_again_on_the_way_back(daemon, monkeypatch):
    again: list[bool] = []
    monkeypatch.setattr(Stylesheet, "reparse", lambda _: again.append(True))
    async with shown(daemon) as (app, pilot, _):
        await pilot.press("question_mark")
        await on(app, Help)
        await pilot.press("escape")
        await on(app, Fleet)
        assert again == []
        app.theme = "light"
        await eventually_async(lambda: again, what="a theme is parsed")


async def test_no_place_is_put_together_while_keys_are_pressed(daemon, monkeypatch):
    monkeypatch.setattr("tui.app._CALM", 1e9)
    async with shown(daemon) as (app, pilot, _):
        await pilot.press("j")
        app._prepare()
        await pilot.pause()
        assert [*app._places] == ["Fleet"]


@pytest.mark.parametrize("place", [title for _, title in PLACES[1:]])
async def test_the_dashboard_may_be_left_in_the_moment_a_place_is_put_together_ahead(daemon, place):
    for turns in range(3):
        async with shown(daemon) as (app, _, _):
            app._register(app, app._place(place))
            for _ in range(turns):
                await asyncio.sleep(0)
            app.exit()
            app._prepare()  # it may be its turn in just that moment
        assert app.return_code == 0


@pytest.mark.parametrize("place", [title for _, title in PLACES[1:]])
async def test_a_place_may_be_visited_in_the_moment_it_is_put_together_ahead(daemon, place):
    for turns in range(3):
        async with shown(daemon) as (app, _, _):
            app._register(app, app._place(place))
            for _ in range(turns):
                await asyncio.sleep(0)
            app.visit(place)
            await eventually_async(lambda: app.screen.place == place and app.screen.is_mounted)
            await eventually_async(lambda: app.screen.query_one("#header", Canvas).picture.lines)


# -- everything by name


async def test_the_palette_orders_by_name_from_anywhere(daemon):
    async with shown(daemon) as (app, pilot, _):
        app.visit("Help")
        await on(app, Help)
        await pilot.press("ctrl+p")
        await on(app, Palette)
        await pilot.press(*"restart", "space", *"chat/1", "enter")
        await eventually_async(lambda: daemon.asked == [("restart", "chat", {"index": 1})])
        assert type(app.screen) is Help


async def test_what_is_pointed_at_comes_first_with_its_keys(daemon):
    async with pointed(daemon, "embed") as (app, pilot):
        await pilot.press("ctrl+p")
        await on(app, Palette)
        canvas = app.screen.query_one("#commands", Canvas)
        await eventually_async(lambda: canvas.picture.lines)
        texts = ["".join(cell.text for cell in line).split() for line in canvas.picture.lines]
        assert (texts[0][:2], texts[0][-1]) == (["open", "embed"], "enter")
        assert (texts[3][:2], texts[3][-1]) == (["restart", "embed"], "r")
        await pilot.press("down", "down", "down", "escape")
        assert type(app.screen) is Shelf
        assert daemon.asked == []


async def test_the_palette_knows_every_place_and_theme_and_remembers(daemon):
    async with shown(daemon) as (app, pilot, remembered):
        await pilot.press("ctrl+p")
        await on(app, Palette)
        names = {name.text for name in app.screen._names}
        assert {f"go to {title}" for _, title in PLACES} <= names
        assert {"help", "quit", "theme ansi"} <= names
        assert not any(name[:1].isupper() for name in names), "Textual's own commands are not ours"
        await pilot.press(*"light", "enter")
        await eventually_async(lambda: app.theme == "light")
        await pilot.press("t")
        assert remembered == ["light", "ansi"]


@pytest.mark.parametrize("theme", ["dark", "light", "ansi"])
async def test_what_is_asked_about_stays_in_sight(daemon, theme):
    async with shown(daemon, theme=theme) as (app, pilot, _):
        await on(app, Fleet)
        await eventually_async(lambda: "embed" in seen(app))
        for key in ("ctrl+p", "n"):
            await pilot.press(key)
            await eventually_async(lambda: type(app.screen) in (Palette, Prompt))
            await eventually_async(lambda: "4 Events" in (now := seen(app)) and "? help" in now, what=seen(app))
            assert ("╭" in seen(app)) is (theme == "ansi"), "a line around it where no shade sets it off"
            await pilot.press("escape")
            await on(app, Fleet)


@pytest.mark.parametrize("theme", ["dark", "light", "ansi"])
async def test_every_question_can_be_asked_in_every_theme(daemon, theme):
    async with pointed(daemon) as (app, pilot):
        app.theme = theme
        for key, screen in (("s", Confirm), ("n", Prompt), ("ctrl+p", Palette), ("question_mark", Help)):
            await pilot.press(key)
            await on(app, screen)
            await pilot.press("escape")
            await on(app, Shelf)


# -- help


async def test_help_tells_every_key_that_there_is(daemon):
    async with shown(daemon, size=(200, 60)) as (app, pilot, _):
        await pilot.press("question_mark")
        await on(app, Help)
        page = "\n".join(
            "".join(cell.text for cell in line) for line in app.screen.query_one("#help", Canvas).picture.lines
        )
        kinds = [Dashboard, Canvas, LogView, OnWorkload, *(kind(name) for name in SCREENS)]
        for declares in kinds:
            for binding in vars(declares).get("BINDINGS", ()):
                shown_key = app.get_key_display(binding.with_key(binding.key.split(",")[0], binding.key_display))
                assert shown_key in page, (declares, binding)
                assert (binding.tooltip or binding.description)[:12] in page, (declares, binding)
