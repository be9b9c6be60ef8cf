"""The Workload screen by its keys, against a daemon."""

import contextlib
from collections.abc import AsyncGenerator

import pytest

from reconciler.model.answers import About
from reconciler.model.live import Live
from reconciler.model.routing import Traffic, Wanted
from reconciler.model.status import GatewayStatus, Reason
from tests.api.daemon import status, workload
from tests.eventually import eventually_async
from tests.tui.abouts import LOG, METRICS, about
from tests.tui.daemon import Daemon
from tests.tui.known import seen
from tests.tui.roads import busy, said
from tui.app import Dashboard
from tui.screens.confirm import Confirm
from tui.screens.place import Place
from tui.screens.plan import Plan
from tui.screens.prompt import Prompt
from tui.screens.workload import WorkloadScreen
from tui.view.picture import printed
from tui.widgets.canvas import Canvas


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "sock", status(workload("chat", wanted=2, ready=2))) as served:
        served.answers["/workloads/chat"] = lambda _: about()
        served.answers["/metrics"] = lambda _: METRICS
        served.write("chat/0", LOG)
        served.write("chat/1", b"WARNING of the other one\n")
        yield served


def text(app: Dashboard) -> str:
    """What is drawn; nothing before there is anything to draw on."""
    lines = [line for canvas in app.screen.query("#workload").results(Canvas) for line in canvas.picture.lines]
    return "\n".join(printed(line, colour=False) for line in lines)


@contextlib.asynccontextmanager
async def shown(daemon: Daemon) -> AsyncGenerator[tuple]:
    app = Dashboard({"": daemon.client})
    async with app.run_test(size=(120, 50)) as pilot:
        await eventually_async(lambda: app.world.machines[""].status is not None)
        app.visit("Workload", "/chat")
        await eventually_async(lambda: isinstance(app.screen, WorkloadScreen) and "LOG of chat/0" in text(app))
        yield app, pilot


async def test_its_first_page_has_the_log_and_what_the_engine_measures(daemon):
    async with shown(daemon) as (app, _):
        await eventually_async(lambda: "preempted a request: the cache is full" in text(app))
        await eventually_async(lambda: "250ms" in text(app))
        assert "/workloads/chat" not in daemon.seen, "what no page shows is not asked"


async def test_tab_leads_through_its_pages_and_a_click_to_one(daemon):
    async with shown(daemon) as (app, pilot):
        for told in ("# what most people talk to", "--max-model-len 32768", "was killed by signal 9", "LOG of chat/0"):
            await pilot.press("tab")
            await eventually_async(lambda told=told: told in text(app))
        await pilot.press("left")
        await eventually_async(lambda: "was killed by signal 9" in text(app))
        await pilot.click("#workload", offset=(16, 1))
        await eventually_async(lambda: "# what most people talk to" in text(app))
        assert daemon.seen.count("/workloads/chat") == 1, "nothing has changed since"


async def test_when_its_status_is_another_its_files_are_read_again(daemon):
    async with shown(daemon) as (app, pilot):
        await pilot.press("tab")
        await eventually_async(lambda: "kind: Model" in text(app))
        daemon.refusals["/workloads/chat"] = (404, "cannot find chat in the fleet")
        daemon.publish(status(workload("chat", wanted=2, ready=1)))
        await eventually_async(lambda: "✖ as it was last told: cannot find chat in the fleet" in text(app))
        assert "kind: Model" in text(app)


async def test_the_replica_under_the_cursor_shows_its_log_and_is_restarted_alone(daemon):
    async with shown(daemon) as (app, pilot):
        await pilot.press("r")
        await eventually_async(lambda: daemon.asked == [("restart", "chat", {"index": None})])
        app.screen.query_one("#workload", Canvas).point("chat/1")
        await eventually_async(lambda: "WARNING of the other one" in text(app))
        assert "LOG of chat/1" in text(app)
        await pilot.press("r")
        await eventually_async(lambda: daemon.asked[1:] == [("restart", "chat", {"index": 1})])


async def test_what_is_lost_by_a_stop_is_asked_first(daemon):
    async with shown(daemon) as (app, pilot):
        await pilot.press("s")
        await eventually_async(lambda: isinstance(app.screen, Confirm) and app.screen.is_mounted)
        assert daemon.asked == []
        await pilot.press("y")
        await eventually_async(lambda: daemon.asked == [("stop", "chat", {})])


async def test_one_that_leaves_the_fleet_says_so_and_takes_no_orders(daemon):
    async with shown(daemon) as (app, pilot):
        daemon.publish(status())
        await eventually_async(lambda: text(app).startswith("chat  is no longer here"))
        await pilot.press("r", "s")
        assert daemon.asked == []


async def test_of_what_has_not_run_yet_each_page_says_so(daemon):
    daemon.answers["/workloads/chat"] = lambda _: About(name="chat")
    async with shown(daemon) as (app, pilot):
        for told in ("no file declares it", "nothing of it was started", "nothing of it has run yet"):
            await pilot.press("tab")
            await eventually_async(lambda told=told: told in text(app))


async def test_what_its_daemon_refuses_to_tell_is_said_and_asked_again(daemon):
    daemon.refusals["/workloads/chat"] = (503, "cannot read fleet.d/chat.yaml: permission denied")
    async with shown(daemon) as (app, pilot):
        await pilot.press("tab")
        await eventually_async(lambda: text(app).endswith("cannot read fleet.d/chat.yaml: permission denied"))
        del daemon.refusals["/workloads/chat"]

        def again() -> bool:
            app.wake()
            return "kind: Model" in text(app)

        await eventually_async(again)
        assert "permission denied" not in text(app)


async def test_an_engine_that_does_not_answer_hides_nothing_else(daemon):
    daemon.refusals["/metrics"] = (503, "no engine answers")
    async with shown(daemon) as (app, _):
        await eventually_async(lambda: "no engine answers" in text(app))
        assert "LOG of chat/0" in text(app)
        assert "● ready" in text(app)


async def test_charts_have_gaps_where_nobody_knows(daemon):
    served = GatewayStatus(connected=True, listen=("http://127.0.0.1:8642",))
    daemon.publish(status(workload("chat", wanted=2, ready=2), gateway=served))
    async with shown(daemon) as (app, _):
        for number, first_byte in enumerate((0.25, None, 0.25, None)):
            rates = Traffic(requests=4.0, tokens=90.0, first_byte=first_byte, total=number + 1)
            daemon.publish(live=Live(now=201.0 + number, traffic={"chat": Wanted(traffic=rates)}))
            answered = f"{number + 1} answered"
            await eventually_async(lambda answered=answered: answered in text(app), what=answered)
        (head,) = (line for line in text(app).splitlines() if "first byte, ms" in line)
        assert "-  most 250" in head, "it is not known now, and was"
        assert "4  most 4" in head


async def test_its_keys_order_and_lead_on(daemon):
    async with shown(daemon) as (app, pilot):
        await pilot.press("p")
        await eventually_async(lambda: daemon.asked == [("pause", "chat", {})])
        await pilot.press("n")
        await eventually_async(lambda: isinstance(app.screen, Prompt) and app.focused is not None)
        await pilot.press("5", "enter")
        await eventually_async(lambda: daemon.asked[1:] == [("scale", "chat", {"replicas": 5})])
        daemon.publish(status(workload("chat", wanted=2, ready=2, paused=True, note="paused by command")))
        await eventually_async(lambda: "‖ paused" in text(app))
        await pilot.press("u")
        await eventually_async(lambda: daemon.asked[2:] == [("resume", "chat", {})])
        for key, place in (("l", "Logs"), ("enter", "Logs"), ("c", "Chat")):
            await eventually_async(lambda: isinstance(app.screen, WorkloadScreen) and app.focused)
            await pilot.press(key)
            await eventually_async(lambda place=place: isinstance(app.screen, Place) and app.screen.place == place)
            if place == "Logs":
                await pilot.press("escape")


async def test_one_that_leaves_while_its_runs_are_read_says_so_and_is_there_again_when_it_comes_back(daemon):
    async with shown(daemon) as (app, pilot):
        await pilot.press("left")
        await eventually_async(lambda: "was killed by signal 9" in text(app))
        daemon.publish(status())
        await eventually_async(lambda: text(app).startswith("chat  is no longer here"))
        assert "was killed by signal 9" in text(app), "what is known of it stays"
        daemon.publish(status(workload("chat", wanted=2, ready=2)))
        await eventually_async(lambda: text(app).startswith("chat  ● ready"))


async def test_on_a_small_terminal_all_of_it_can_be_scrolled_to(daemon):
    app = Dashboard({"": daemon.client})
    async with app.run_test(size=(80, 24)) as pilot:
        await eventually_async(lambda: app.world.machines[""].status is not None)
        app.visit("Workload", "/chat")
        await eventually_async(lambda: isinstance(app.screen, WorkloadScreen) and "LOG of chat/0" in text(app))
        canvas = app.screen.query_one("#workload", Canvas)
        await eventually_async(lambda: canvas.has_focus)
        assert "WARNING" not in seen(canvas)
        await pilot.press("G")  # to the last of its replicas, and then to the end of its log
        await eventually_async(lambda: "WARNING of the other one" in seen(canvas))
        why = " ".join(["more is told above"] * 12)
        daemon.publish(status(workload("chat", wanted=2, ready=1, reason=Reason.Starting, why=why)))
        await eventually_async(lambda: "more is told above" in text(app))
        assert "WARNING of the other one" in seen(canvas), "it is still read"
        await pilot.press("g")
        await eventually_async(lambda: "REPLICAS" in seen(canvas))


async def test_the_plan_opens_whom_it_happens_to(tmp_path):
    known, road = said(*busy())
    with Daemon(tmp_path / "sock", known) as served:
        served.answers["/plan"] = lambda _: road
        app = Dashboard({"": served.client})
        async with app.run_test(size=(120, 50)) as pilot:
            await pilot.press("2")
            await eventually_async(lambda: isinstance(app.screen, Plan) and app.screen.query("#plan"))
            canvas = app.screen.query_one("#plan", Canvas)
            await eventually_async(lambda: "/vision#ahead" in canvas.picture.keys)
            canvas.point("/vision#ahead")
            await pilot.press("enter")
            await eventually_async(lambda: isinstance(app.screen, WorkloadScreen) and text(app).startswith("vision "))
