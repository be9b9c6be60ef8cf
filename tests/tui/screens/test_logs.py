"""The Logs screen by its keys, against a daemon."""

import contextlib
import threading
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from textual.events import Key, MouseScrollDown, MouseScrollUp

from reconciler.model.answers import About, Run
from tests.api.daemon import status, workload
from tests.eventually import eventually_async
from tests.tui.daemon import Daemon
from tui.app import Dashboard
from tui.screens.logs import Asked, Logs
from tui.screens.runs import Runs
from tui.view.paint import width
from tui.view.picture import printed
from tui.widgets.canvas import Canvas

RUN = Run(slot="chat/0", run=3, began=1000.0, ended=None, outcome="runs", first_failure=False, size=2**20)
ABOUT = About(
    name="chat",
    runs=(RUN, Run(slot="chat/0", run=2, began=1.0, ended=9.0, outcome="exited", first_failure=True, size=9)),
)


KEYS = {
    " ": "space",
    "$": "dollar_sign",
    "+": "plus",
    "!": "exclamation_mark",
    "*": "asterisk",
    "|": "vertical_line",
    "(": "left_parenthesis",
    ")": "right_parenthesis",
}


def numbered(count: int, first: int = 0) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, first + count))


@pytest.fixture(autouse=True)
def no_longer_than_needed() -> None:
    """But here Textual's own way: what a key does to a log a thread does that reads it, and it has no messages."""


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "sock", status(workload("chat"))) as served:
        served.logs["chat/0"] = {2: b"error: no\n", 3: numbered(20_000)}
        served.answers["/workloads/chat"] = lambda _: ABOUT
        yield served


def shown(app: Dashboard, name: str = "#log") -> list[str]:
    """Nothing while the screen is being put together."""
    canvases = app.screen.query(name).results(Canvas)
    return [printed(line, colour=False) for canvas in canvases for line in canvas.picture.lines]


def text(app: Dashboard) -> str:
    return "\n".join((*shown(app, "#title"), *shown(app), *shown(app, "#state")))


async def until(app: Dashboard, *parts: str) -> None:
    await eventually_async(lambda: all(part in text(app) for part in parts), what=f"{parts}")


@contextlib.asynccontextmanager
async def looking(daemon: Daemon, first: str = "line 19999") -> AsyncGenerator[tuple]:
    app = Dashboard({"": daemon.client})
    async with app.run_test(size=(100, 30)) as pilot:
        await eventually_async(lambda: app.world.machines[""].status is not None)
        app.visit("Logs", "/chat")
        await eventually_async(lambda: isinstance(app.screen, Logs) and app.screen.is_mounted)
        await until(app, first)
        yield app, pilot


async def typed(pilot, key: str, pattern: str) -> None:
    await pilot.press(key)
    await pilot.press(*(KEYS.get(one, one) for one in pattern))
    await pilot.press("enter")


async def test_it_opens_at_the_end_and_follows_what_is_written(daemon):
    async with looking(daemon) as (app, _):
        assert text(app).startswith(" chat/0  run 3")
        await until(app, "● following", "100 %")
        daemon.write("chat/0", b"and more\n", run=3)
        await until(app, "and more")
        assert shown(app)[-1].strip() == "and more"


@pytest.mark.parametrize("up", ["up", "k", "pageup"])
@pytest.mark.parametrize("end", ["G", "end"])
async def test_scrolling_up_pauses_and_says_so_and_the_end_follows_again(daemon, up, end):
    async with looking(daemon) as (app, pilot):
        await until(app, "● following")
        await pilot.press(up)
        await until(app, "‖ paused")
        before = shown(app)
        daemon.write("chat/0", b"and more\n", run=3)
        app.wake()
        await pilot.pause()
        assert shown(app) == before
        await pilot.press(end)
        await until(app, "● following", "and more")


async def test_scrolling_back_reaches_the_first_line_and_down_the_last(daemon):
    async with looking(daemon) as (app, pilot):
        await pilot.press("g")
        await until(app, "line 0\n", "‖ paused")
        await pilot.press(*["pagedown"] * 3)
        await until(app, "line 80")
        for _ in range(20):
            await pilot.press("pageup")
        await until(app, "line 0\n")


async def test_pages_up_from_the_end_show_every_line_once(daemon):
    async with looking(daemon) as (app, pilot):
        seen: set[str] = set()
        for _ in range(60):
            seen |= set(shown(app))
            last = int(shown(app)[0].split()[-1])
            await pilot.press("pageup")
            await eventually_async(lambda last=last: int(shown(app)[0].split()[-1]) < last)
        numbers = sorted(int(line.split()[-1]) for line in seen)
        assert numbers == list(range(numbers[0], 20_000))
        assert len(numbers) > 1000


async def test_the_mouse_wheel_scrolls(daemon):
    async with looking(daemon) as (app, _):
        await until(app, "● following")
        log = app.screen.query_one("#log")
        log.post_message(MouseScrollUp(log, 5, 5, 0, 0, 0, shift=False, meta=False, ctrl=False))
        await until(app, "‖ paused")
        assert shown(app)[-1].strip() == "line 19996"
        log.post_message(MouseScrollDown(log, 5, 5, 0, 0, 0, shift=False, meta=False, ctrl=False))
        await until(app, "● following")


async def test_a_search_goes_up_from_the_end_n_and_N_go_on_and_the_last_says_so(daemon):
    async with looking(daemon) as (app, pilot):
        await typed(pilot, "/", "line 7777$")
        await until(app, "line 7777\n", "/line 7777$", "‖ paused")
        await pilot.press("N")
        await until(app, "no more above; n searches down")
        await pilot.press("n")
        await until(app, "no more below; N searches up")
        assert "line 7777\n" in text(app)
        await pilot.press("escape")
        await eventually_async(lambda: "/line" not in text(app))
        assert isinstance(app.screen, Logs)
        await pilot.press("escape")
        await eventually_async(lambda: not isinstance(app.screen, Logs))


async def test_what_is_typed_faster_than_it_is_drawn_is_the_pattern_all_the_same(daemon):
    async with looking(daemon) as (app, _):
        for one in "/a run quits f/x\b\b\b":
            app.post_message(Key({"/": "slash", " ": "space", "\b": "backspace"}.get(one, one), one))
        app.post_message(Key("enter", None))
        await until(app, "/a run quits ", "no more above")


async def test_a_filter_leaves_only_what_matches_and_goes_on_with_what_is_written(daemon):
    async with looking(daemon) as (app, pilot):
        await typed(pilot, "f", "99$")
        await until(app, "line 19999", "line 19899", "only 99$")
        assert "line 19998" not in text(app)
        daemon.write("chat/0", b"not this\nbut 99\n", run=3)
        await until(app, "but 99")
        assert "not this" not in text(app)
        await pilot.press("f")
        await pilot.press(*["backspace"] * 3, "enter")
        await until(app, "not this")


async def test_a_pattern_that_is_none_is_said_in_place_and_not_taken(daemon):
    async with looking(daemon) as (app, pilot):
        await typed(pilot, "f", "(")
        await until(app, "no regular expression: missing )")
        assert "only" not in text(app)
        await pilot.press("escape")
        await eventually_async(lambda: "no regular" not in text(app))
        assert "line 19999" in text(app)


async def test_a_pattern_is_taken_or_refused_however_late_it_is_heard_of(daemon):
    async with looking(daemon) as (app, pilot):
        await pilot.press("f")
        asked = app.screen.query_one(Asked)
        app.screen.on_input_submitted(Asked.Submitted(asked, "?("))
        await until(app, "no regular expression")
        assert asked.display
        app.screen.on_input_submitted(Asked.Submitted(asked, "19998"))
        app.screen.on_input_changed(Asked.Changed(asked, "?("))
        await until(app, "line 19998")
        assert not asked.display
        assert "no regular expression" not in text(app)


async def test_only_grave_lines_are_shown_on_demand(daemon):
    daemon.write("chat/0", b"WARNING:a:hm\nERROR:a:no\nlast\n", run=3)
    async with looking(daemon, first="last") as (app, pilot):
        await pilot.press("e")
        await until(app, "warnings and up", "hm", "2 lines\n")
        assert "last" not in shown(app)
        await pilot.press("e")
        await until(app, "errors", "1 line\n")
        await pilot.press("e")
        await until(app, "last")


async def test_long_lines_are_cut_shifted_and_folded(daemon):
    daemon.write("chat/0", b"a" * 150 + b"z\n", run=3)
    async with looking(daemon, first="aaa") as (app, pilot):
        assert "…" in shown(app)[-1]
        await pilot.press(*["right"] * 5)
        await until(app, "az")
        await pilot.press(*["h"] * 5)
        await eventually_async(lambda: "az" not in text(app))
        await pilot.press("w")
        await until(app, "az")
        assert "…" not in text(app)


async def test_a_run_is_chosen_from_a_list_and_ends_where_it_does(daemon):
    async with looking(daemon) as (app, pilot):
        await pilot.press("r")
        await eventually_async(lambda: isinstance(app.screen, Runs) and len(shown(app, "#runs")) == 4)
        await pilot.press("down", "down", "enter")
        await eventually_async(lambda: isinstance(app.screen, Logs) and app.screen.is_mounted)
        await until(app, "run 2", "error: no", "■ the end")
        await pilot.press("r")
        await eventually_async(lambda: isinstance(app.screen, Runs) and app.screen.is_mounted)
        await pilot.press("enter")
        await eventually_async(lambda: isinstance(app.screen, Logs) and app.screen.is_mounted)
        await until(app, "run 3", "line 19999")


async def test_which_runs_there_are_may_be_asked_before_it_is_known(daemon):
    known = threading.Event()
    daemon.answers["/workloads/chat"] = lambda _: known.wait(20) and ABOUT
    async with looking(daemon) as (app, pilot):
        await pilot.press("r")
        assert isinstance(app.screen, Logs)
        known.set()
        await eventually_async(lambda: isinstance(app.screen, Runs) and len(shown(app, "#runs")) == 4)
        await pilot.press("escape")
        await eventually_async(lambda: isinstance(app.screen, Logs) and app.screen.is_mounted)
        app.wake()
        await pilot.pause()
        assert isinstance(app.screen, Logs), "asked once"


async def test_a_run_that_began_at_no_time_at_all_is_listed_too(daemon):
    daemon.answers["/workloads/chat"] = lambda _: About(name="chat", runs=(replace(RUN, began=1e300),))
    async with looking(daemon) as (app, pilot):
        await pilot.press("r")
        await eventually_async(lambda: isinstance(app.screen, Runs) and any("?" in one for one in shown(app, "#runs")))


async def test_why_it_is_not_known_which_runs_there_are_is_said(daemon):
    daemon.refusals["/workloads/chat"] = (500, "cannot read endings.json")
    async with looking(daemon) as (app, pilot):
        await pilot.press("r")
        await eventually_async(lambda: "cannot read endings.json" in [each.message for each in app._notifications])


async def test_a_new_run_is_followed_and_where_it_began_is_said(daemon):
    async with looking(daemon) as (app, _):
        daemon.write("chat/0", b"again\n", run=4)
        await until(app, "── run 4 began ─", "again", "run 4", "line 19999")


async def test_instances_are_shown_together_and_alone(daemon):
    daemon.publish(status(workload("chat", wanted=2, ready=2)))
    daemon.logs["chat/0"] = {3: b"2025/11/21 12:00:01 one\n2025/11/21 12:00:03 three\n"}
    daemon.logs["chat/1"] = {1: b"2025/11/21 12:00:02 two\n"}
    async with looking(daemon, first="three") as (app, pilot):
        assert [line.split()[0] + line.split()[-1] for line in shown(app)] == ["0one", "1two", "0three"]
        await until(app, " chat  runs 1, 3  instances 0 1")
        await pilot.press("m")
        await until(app, "chat/0  run 3")
        await eventually_async(lambda: "two" not in text(app))
        await pilot.press("m")
        await until(app, "chat/1  run 1", "two")
        daemon.write("chat/1", b"four\n", run=1)
        await until(app, "four")
        await pilot.press("m")
        await until(app, "instances 0 1", "three", "four")


async def test_who_reads_what_was_written_is_not_led_away_by_an_instance_that_comes(daemon):
    daemon.publish(status(workload("chat", wanted=2, ready=2)))
    daemon.logs["chat/1"] = daemon.logs["chat/2"] = {1: b"hello\n"}
    async with looking(daemon) as (app, pilot):
        await until(app, "instances 0 1", "● following")
        await pilot.press("pageup", "pageup")
        await until(app, "‖ paused")
        before = shown(app)
        daemon.publish(status(workload("chat", wanted=3, ready=3)))
        await eventually_async(lambda: len(app.world.find("/chat").workload.replicas) == 3)
        assert shown(app) == before
        assert "instances 0 1 " in text(app)
        await pilot.press("G")
        await until(app, "instances 0 1 2", "● following")


async def test_a_search_goes_on_when_one_comes_back(daemon):
    async with looking(daemon) as (app, pilot):
        logs = app.screen
        daemon.hung.set()
        await typed(pilot, "/", "nothing such")
        await pilot.press("question_mark")
        await eventually_async(lambda: app.screen is not logs)
        daemon.hung.clear()
        await pilot.press("escape")
        await eventually_async(lambda: app.screen is logs)
        await until(app, "no more above")


async def test_what_has_written_nothing_says_so(daemon):
    daemon.logs["chat/0"] = {1: b""}
    async with looking(daemon, first="nothing has been written yet") as (app, _):
        daemon.write("chat/0", b"hello\n")
        await until(app, "hello")


async def test_where_there_is_no_log_yet_that_is_said_and_it_is_seen_once_there_is(daemon):
    daemon.refusals["page"] = (404, "cannot show a log of chat/0: there is none yet")
    async with looking(daemon, first="there is none yet") as (app, pilot):
        daemon.refusals.clear()
        await until(app, "line 19999", "● following")
        assert "none yet" not in text(app)
        daemon.refusals["page"] = (500, "cannot read 3.0.log")
        await pilot.press(*["pageup"] * 20)
        await until(app, "cannot read 3.0.log")
        daemon.refusals.clear()
        await eventually_async(lambda: "cannot read" not in text(app))


async def test_a_daemon_that_goes_away_is_said_and_found_again(daemon):
    async with looking(daemon) as (app, _):
        daemon.close()
        await until(app, "daemon at")
        assert "line 19999" in text(app)
        daemon.start()
        daemon.write("chat/0", b"back again\n", run=3)
        await until(app, "back again")
        await eventually_async(lambda: "daemon at" not in text(app))


async def test_who_left_reads_nothing_and_who_comes_back_sees_what_was_written(daemon):
    async with looking(daemon) as (app, _):
        await until(app, "● following")
        logs = app.screen
        app.visit("Plan")
        await eventually_async(lambda: not logs.is_current)
        await eventually_async(lambda: not logs.is_attached or not logs.view._tail.follows)
        daemon.write("chat/0", b"meanwhile\n", run=3)
        app.visit("Logs", "/chat")
        await eventually_async(lambda: isinstance(app.screen, Logs) and app.screen.is_mounted)
        await until(app, "meanwhile")


async def test_hostile_lines_never_reach_the_terminal(daemon):
    daemon.logs["chat/0"] = {1: bytes(range(256)) * 50 + b"\n\x1b]0;title\x07\x1b[2J\x9b1m\xe2\x80\xae[bold]end[/]\n"}
    async with looking(daemon, first="[bold]end[/]") as (app, pilot):
        await pilot.press("w", "w", "right", "left")
        for line in shown(app):
            assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 or letter == "\u202e" for letter in line)


async def test_a_pattern_that_would_take_for_ever_elsewhere_takes_no_time(daemon):
    daemon.logs["chat/0"] = {3: (b"a" * 5000 + b"!\n") * 200 + b"the last\n"}
    async with looking(daemon, first="the last") as (app, pilot):
        await typed(pilot, "f", "(a+)+$")
        await until(app, "no line is like that")
        await typed(pilot, "f", "(a+)+!")
        await until(app, "aaa", "only (a+)+!")
        await typed(pilot, "/", "(a|aa)*b")
        await until(app, "no more above")


async def test_a_line_of_a_megabyte_is_shown_in_pieces_and_walked_like_others(daemon):
    daemon.logs["chat/0"] = {1: b"first\n" + "é".encode() * 500_000 + b"\nhalf: \xc3\nthe last\n"}
    async with looking(daemon, first="the last") as (app, pilot):
        assert shown(app)[-2].strip() == "half: \ufffd"
        assert shown(app)[-3].strip().startswith("é")
        for _ in range(2):
            await pilot.press("pageup", "pageup", "g")
            await until(app, "first\n")
            await pilot.press("w", "G")
            await until(app, "the last", "● following")


async def test_marks_upon_letters_and_letters_of_no_width_leave_the_lines_beside_as_they_are(daemon):
    daemon.logs["chat/0"] = {1: ("a" + "\u0301" * 3000 + "z\n" + "\u200d" * 3000 + "\nafter\n").encode()}
    async with looking(daemon, first="after") as (app, pilot):
        for key in ("w", "right", "left"):
            await pilot.press(key)
            assert all(width(line) <= 100 for line in shown(app))
        assert shown(app)[-1].strip() == "after"


async def test_instances_are_followed_in_the_order_of_their_times_whichever_is_read_first(daemon):
    daemon.publish(status(workload("chat", wanted=2, ready=2)))
    daemon.logs["chat/0"] = {3: b"2025-11-21 12:00:01,100 one\n"}
    daemon.logs["chat/1"] = {1: b"INFO 11-21 12:00:02 [a.py:1] two\n"}
    async with looking(daemon, first="two") as (app, _):
        await until(app, "● following")
        daemon.write("chat/0", b"INFO 11-21 12:00:05 [a.py:1] five\n", run=3)
        await until(app, "five")
        daemon.write("chat/1", b"INFO 11-21 12:00:04 [a.py:1] four\nINFO 11-21 12:00:06 [a.py:1] six\n")
        await until(app, "six")
        assert [line.split()[-1] for line in shown(app)] == ["one", "two", "four", "five", "six"]


async def test_a_log_that_is_cut_short_while_it_is_followed_is_said(daemon):
    async with looking(daemon) as (app, pilot):
        await until(app, "● following")
        daemon.logs["chat/0"] = {3: b""}
        daemon.write("chat/0", b"anew\n", run=3)
        await until(app, "── the log was cut short ─", "anew", "● following")
        await pilot.press("g")
        await until(app, "anew")


async def test_a_flood_does_not_stop_the_keys_and_what_was_passed_by_is_said(daemon):
    async with looking(daemon) as (app, pilot):
        await until(app, "● following")
        written = 20_000
        for _ in range(5):
            daemon.write("chat/0", numbered(100_000, first=written), run=3)
            written += 100_000
            await until(app, f"line {written - 1}")
        await until(app, "passed by  100 %")
        await pilot.press("pageup")
        await until(app, "‖ paused")
        await pilot.press(*["pageup"] * 30)
        await eventually_async(lambda: [line.split()[0] for line in shown(app)[:1]] == ["line"], what="lines, no gap")
        numbers = [int(line.split()[-1]) for line in shown(app)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert numbers[0] < written - 500


async def test_it_is_opened_amid_a_flood_at_its_end(daemon):
    def flooded(query):
        page = daemon.page("chat/0", query)
        if query.get("back") == "true" and len(daemon.logs["chat/0"][3]) < 2**20:
            daemon.write("chat/0", numbered(100_000, first=20_000), run=3)
        return page

    daemon.answers["/workloads/chat/logs/page"] = flooded
    async with looking(daemon, first="line 119999") as (app, _):
        await until(app, "● following", "passed by  100 %")


async def test_a_run_that_ended_and_wrote_nothing_says_so(daemon):
    daemon.logs["chat/0"][2] = b""
    async with looking(daemon) as (app, pilot):
        await pilot.press("r")
        await eventually_async(lambda: isinstance(app.screen, Runs) and len(shown(app, "#runs")) == 4)
        await pilot.press("down", "down", "enter")
        await eventually_async(lambda: isinstance(app.screen, Logs) and app.screen.is_mounted)
        await until(app, "nothing was written\n", "■ the end")


async def test_how_a_run_ended_is_said_beside_it(daemon):
    async with looking(daemon) as (app, pilot):
        assert "failure" not in text(app)
        await pilot.press("r")
        await eventually_async(lambda: isinstance(app.screen, Runs) and len(shown(app, "#runs")) == 4)
        await pilot.press("down", "down", "enter")
        await eventually_async(lambda: isinstance(app.screen, Logs) and app.screen.is_mounted)
        await until(app, "run 2", "✖ first failure: exited")


@pytest.mark.parametrize("key", ["/gone", "/", "nowhere/chat"])
async def test_a_workload_that_is_not_there_is_no_crash(daemon, key):
    app = Dashboard({"": daemon.client})
    async with app.run_test(size=(80, 24)) as pilot:
        await eventually_async(lambda: app.world.machines[""].status is not None)
        if key.startswith("nowhere"):
            return
        app.visit("Logs", key)
        await eventually_async(lambda: isinstance(app.screen, Logs) and app.screen.is_mounted)
        await pilot.press("/", "x", "enter", "N", "g", "G", "m", "r", "e", "w")
        await eventually_async(lambda: shown(app, "#state"))


async def test_who_leaves_while_it_is_read_is_not_told_that_a_search_was_stopped(daemon):
    app = Dashboard({"": daemon.client}, theme="dark")
    async with app.run_test(size=(100, 30)) as pilot:
        await eventually_async(lambda: app.world.machines[""].status is not None)
        before = app.screen
        daemon.hung.set()
        app.visit("Logs", "/chat")
        await eventually_async(lambda: isinstance(app.screen, Logs) and app.screen.is_mounted)
        await pilot.press("escape")
        await eventually_async(lambda: app.screen is before, what="it leads back")
        daemon.hung.clear()
