"""The Plan screen by its keys, against a daemon."""

import contextlib
from collections.abc import AsyncGenerator

import pytest

from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from tests.eventually import eventually_async
from tests.plan.world import fleet, gpu, instance, machine
from tests.tui.daemon import Daemon
from tests.tui.roads import broken, busy, model, said
from tui.app import Dashboard
from tui.screens.confirm import Confirm
from tui.screens.plan import Plan
from tui.view.picture import printed
from tui.widgets.canvas import Canvas


@pytest.fixture
def daemon(tmp_path):
    status, road = said(*busy())
    with Daemon(tmp_path / "sock", status) as served:
        served.answers["/plan"] = lambda _: road
        yield served


def text(app: Dashboard) -> str:
    picture = app.screen.query_one("#plan", Canvas).picture
    return "\n".join(printed(line, colour=False) for line in picture.lines)


@contextlib.asynccontextmanager
async def shown(daemon: Daemon) -> AsyncGenerator[tuple]:
    app = Dashboard({"": daemon.client})
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await eventually_async(lambda: isinstance(app.screen, Plan) and "MEMORY" in text(app))
        yield app, pilot


async def test_it_shows_what_would_be_done(daemon):
    async with shown(daemon) as (app, _):
        assert "+ vision/0  start  vllm on gpu 0, port 9004  not running" in text(app)


async def test_it_asks_again_only_when_how_the_fleet_does_has_changed(daemon):
    async with shown(daemon) as (app, pilot):
        app.wake()
        app.screen.draw()
        app.screen.draw()
        assert daemon.seen.count("/plan") == 1
        of, on = busy()
        status, road = said(broken(of), on, Memory(paused=True))
        daemon.answers["/plan"] = lambda _: road
        daemon.publish(status)
        await eventually_async(lambda: "fleet.d/chat.yaml:7:3: priority: cannot be 5000" in text(app))
        assert "ONCE RESUMED" in text(app)
        assert daemon.seen.count("/plan") == 2
        await pilot.press("1")
        daemon.publish(said(*busy())[0])
        await eventually_async(lambda: not app.world.machines[""].status.problems)
        assert daemon.seen.count("/plan") == 2, "a screen that is not looked at asks nothing"


async def test_the_whole_fleet_is_paused_and_resumed_by_one_key(daemon):
    async with shown(daemon) as (app, pilot):
        await pilot.press("P")
        await eventually_async(lambda: daemon.asked == [("pause", "", {})])
        daemon.publish(said(*busy(), Memory(paused=True))[0])
        await eventually_async(lambda: app.world.machines[""].status.paused)
        await pilot.press("P")
        await eventually_async(lambda: daemon.asked[1:] == [("resume", "", {})])


async def test_while_all_is_paused_an_edit_is_seen_at_once_and_not_done(daemon):
    before, first = fleet(model("chat")), gpu(0, used=20)
    on = machine(instance(before, "chat/0", port=9000, gpus=(first,)), gpus=(first,))

    def declared(of: Fleet) -> None:
        status, road = said(of, on, Memory(paused=True))
        daemon.answers["/plan"] = lambda _: road
        daemon.publish(status)

    declared(before)
    async with shown(daemon) as (app, _):
        await eventually_async(lambda: "ONCE RESUMED\n  ● nothing to do: all is as declared" in text(app))
        declared(fleet(model("chat").replace("8192", "16384")))
        await eventually_async(lambda: "chat/0  replace  context 8192 → 16384" in text(app))
        declared(fleet(model("chat", 500)))
        await eventually_async(lambda: "needs one gpu with 500.0 GiB free" in text(app), what="and why it cannot be")
        assert daemon.asked == []


async def test_nothing_is_removed_before_it_was_named_and_consented_to(daemon):
    before = fleet("".join(model(name, 5) for name in ("a", "b", "c", "d")))
    on = machine(*(instance(before, f"{name}/0", gpus=(gpu(0),)) for name in "abcd"), gpus=(gpu(0, used=20),))
    status, road = said(fleet(model("a", 5)), on)
    async with shown(daemon) as (app, pilot):
        await pilot.press("a")
        await eventually_async(lambda: daemon.asked == [("apply", "", {"prune": False})], what="a look now")
        daemon.answers["/plan"] = lambda _: road
        daemon.publish(status)
        await eventually_async(lambda: "a consents to it: b, c, d would be stopped" in text(app))
        await pilot.press("a")
        await eventually_async(lambda: isinstance(app.screen, Confirm) and app.screen.is_mounted)
        await pilot.press("n")
        await pilot.press("a")
        await eventually_async(lambda: isinstance(app.screen, Confirm) and app.screen.is_mounted)
        assert len(daemon.asked) == 1
        await pilot.press("y")
        await eventually_async(lambda: daemon.asked[1:] == [("apply", "", {"prune": True})])


async def test_what_is_held_since_it_was_asked_is_not_consented_to(daemon):
    before = fleet("".join(model(name, 5) for name in ("a", "b", "c", "d")))
    on = machine(*(instance(before, f"{name}/0", gpus=(gpu(0),)) for name in "abcd"), gpus=(gpu(0, used=20),))
    status, road = said(fleet(model("a", 5) + model("b", 5)), on)
    async with shown(daemon) as (app, pilot):
        daemon.answers["/plan"] = lambda _: road
        daemon.publish(status)
        await eventually_async(lambda: "a consents to it: c, d would be stopped" in text(app))
        await pilot.press("a")
        await eventually_async(lambda: isinstance(app.screen, Confirm) and app.screen.is_mounted)
        daemon.answers["/plan"] = lambda _: said(fleet(model("a", 5)), on)[1]
        await pilot.press("y")
        told = "nothing was removed: b would be too by now; ask again"
        await eventually_async(lambda: [each.message for each in app._notifications] == [told])
        assert daemon.asked == []


async def test_what_the_daemon_cannot_say_is_said_and_asked_again(daemon):
    daemon.refusals["/plan"] = (503, "cannot plan yet: the first pass is not over")
    app = Dashboard({"": daemon.client})
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await eventually_async(lambda: "cannot plan yet: the first pass is not over" in text(app))
        del daemon.refusals["/plan"]

        def again() -> bool:
            app.wake()
            return "MEMORY" in text(app)

        await eventually_async(again)


async def test_every_pass_comes_and_goes_by_a_key(daemon):
    async with shown(daemon) as (app, pilot):
        await pilot.press("v")
        await eventually_async(lambda: "step 1\n  stop old/0: NotInFleet" in text(app))
        await pilot.press("v")
        await eventually_async(lambda: "step 1" not in text(app))
