"""Several machines in one dashboard: each is shown as itself, and an order reaches the one that is meant alone."""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.client import Client
from tests.api.daemon import status, workload
from tests.eventually import eventually_async
from tests.plan.world import fleet, gpu, instance, machine
from tests.tui.abouts import about
from tests.tui.daemon import Daemon
from tests.tui.known import canvas, seen, whole
from tests.tui.roads import busy, model, said
from tui.app import Dashboard
from tui.screens.confirm import Confirm
from tui.screens.place import Place
from tui.screens.plan import Plan
from tui.screens.prompt import Prompt

Two = Mapping[str, Daemon]


@pytest.fixture
def two(tmp_path):
    """Both have a `chat`; each has a plan of its own."""
    told = {
        "gpu1": status(workload("chat"), workload("embed"), host="box1"),
        "gpu2": status(workload("chat"), workload("vision"), host="box2"),
    }
    with contextlib.ExitStack() as stack:
        made = {name: stack.enter_context(Daemon(tmp_path / name, each)) for name, each in told.items()}
        for name, each in made.items():
            each.answers["/workloads/chat"] = lambda _, name=name: about_of(name)
        yield made


def about_of(name: str):
    found = about()
    return replace(found, written=tuple(replace(each, path=f"{name}.d/chat.yaml") for each in found.written))


@contextlib.asynccontextmanager
async def shown(
    two: Two, *more: tuple[str, Client], size: tuple[int, int] = (120, 40)
) -> AsyncGenerator[tuple[Dashboard, Any]]:
    """Once both have said how they do."""
    app = Dashboard({name: each.client for name, each in two.items()} | dict(more))
    async with app.run_test(size=size) as pilot:
        await eventually_async(lambda: all(app.world.machines[name].status is not None for name in two))
        await eventually_async(lambda: "chat" in whole(app))
        yield app, pilot


def rows(app: Dashboard) -> list[str]:
    return list(dict.fromkeys(key for key in canvas(app, "fleet").picture.keys if key))


def toasts(app: Dashboard) -> list[str]:
    return [each.message for each in app._notifications]


async def test_each_workload_says_where_it_is_and_they_can_be_grouped_by_that(two):
    async with shown(two) as (app, pilot):
        lines = seen(canvas(app, "fleet")).splitlines()
        assert lines[0].split()[:3] == ["NAME", "MACHINE", "STATE"]
        assert {(line.split()[1], line.split()[0]) for line in lines[1:] if line.strip()} == {
            ("gpu1", "chat"), ("gpu1", "embed"), ("gpu2", "chat"), ("gpu2", "vision"),
        }  # fmt: skip
        await pilot.press("b", "b")
        await eventually_async(lambda: "gpu2 · 2 workloads" in seen(canvas(app, "fleet")))
        assert rows(app) == ["gpu1/chat", "gpu1/embed", "gpu2/chat", "gpu2/vision"]
        await pilot.press("slash", *"gpu2", "enter")
        await eventually_async(lambda: rows(app) == ["gpu2/chat", "gpu2/vision"])


async def test_an_order_names_the_machine_and_reaches_no_other(two):
    async with shown(two) as (app, pilot):
        canvas(app, "fleet").point("gpu2/chat")
        await pilot.press("s")
        await eventually_async(lambda: isinstance(app.screen, Confirm) and app.screen.is_mounted)
        assert "stop chat on gpu2? chat answers nobody until it is resumed." in texts(app)
        await pilot.press("y")
        await eventually_async(lambda: two["gpu2"].asked == [("stop", "chat", {})])
        await eventually_async(lambda: toasts(app) == ["gpu2: chat: will stop"])
        await pilot.press("n")
        await eventually_async(lambda: isinstance(app.screen, Prompt) and app.screen.is_mounted)
        assert "scale chat on gpu2: replicas" in texts(app)
        await pilot.press("3", "enter")
        await eventually_async(lambda: two["gpu2"].asked[1:] == [("scale", "chat", {"replicas": 3})])
        assert two["gpu1"].asked == []


def texts(app: Dashboard) -> str:
    return " ".join(" ".join(str(each.render()).split()) for each in app.screen.query("Static"))


async def test_what_one_of_them_refuses_is_said_to_be_its(two):
    two["gpu2"].refusals["pause"] = (409, "not now")
    async with shown(two) as (app, pilot):
        canvas(app, "fleet").point("gpu2/chat")
        await pilot.press("p")
        await eventually_async(lambda: toasts(app) == ["gpu2: not now"])


async def test_a_workload_is_opened_where_it_is(two):
    async with shown(two) as (app, pilot):
        canvas(app, "fleet").point("gpu2/chat")
        await pilot.press("enter")
        await eventually_async(lambda: app.screen.query("#workload") and "gpu2 · Model" in whole(app))
        await pilot.press("tab")
        await eventually_async(lambda: "gpu2.d/chat.yaml:1" in whole(app))
        assert "/workloads/chat" not in two["gpu1"].seen


async def test_the_plan_has_a_section_for_each_and_leads_the_one_under_the_cursor(two):
    before = fleet("".join(model(name, 5) for name in ("a", "b", "c", "d")))
    on = machine(*(instance(before, f"{name}/0", gpus=(gpu(0),)) for name in "abcd"), gpus=(gpu(0, used=20),))
    for name, (known, road) in {"gpu1": said(*busy()), "gpu2": said(fleet(model("a", 5)), on)}.items():
        two[name].answers["/plan"] = lambda _, road=road: road
        two[name].publish(known)
    app = Dashboard({name: each.client for name, each in two.items()})
    async with app.run_test(size=(120, 60)) as pilot:
        await pilot.press("2")
        await eventually_async(lambda: isinstance(app.screen, Plan) and "on gpu2 · 1 model" in whole(app))
        assert "on gpu1 · 6 models" in whole(app)
        canvas(app, "plan").point("gpu2/#")
        await pilot.press("P")
        await eventually_async(lambda: two["gpu2"].asked == [("pause", "", {})])
        await eventually_async(lambda: toasts(app) == ["gpu2: the fleet: will pause"])
        await pilot.press("a")
        await eventually_async(lambda: isinstance(app.screen, Confirm) and app.screen.is_mounted)
        assert "stop and remove 3 workloads on gpu2 that no file declares any more: b, c, d?" in texts(app)
        await pilot.press("y")
        await eventually_async(lambda: two["gpu2"].asked[1:] == [("apply", "", {"prune": True})])
        assert two["gpu1"].asked == []


async def test_one_that_is_away_says_so_and_comes_back_and_the_other_goes_on(two):
    async with shown(two) as (app, _):
        two["gpu2"].close()
        await eventually_async(lambda: "✖ gpu2 away" in whole(app), what="the header tells of it")
        assert "gpu2 is away: " in whole(app), "and why"
        assert "gpu2/vision" in rows(app), "what is known of it stays"
        two["gpu1"].publish(status(workload("chat"), workload("fresh"), host="box1"))
        await eventually_async(lambda: "gpu1/fresh" in rows(app))
        two["gpu2"].start()
        two["gpu2"].publish(status(workload("other"), host="box2"))
        await eventually_async(lambda: "gpu2/other" in rows(app) and "away" not in whole(app))
        assert "gpu2/vision" not in rows(app)


async def test_one_that_never_answered_hides_nothing_of_the_others(two, tmp_path):
    async with shown(two, ("gpu3", Client(str(tmp_path / "nobody")))) as (app, pilot):
        await eventually_async(lambda: "gpu3 is away: cannot reach the daemon" in whole(app))
        assert rows(app) == ["gpu1/chat", "gpu2/chat", "gpu1/embed", "gpu2/vision"]
        for key in "2345":
            await pilot.press(key)
            await eventually_async(lambda key=key: _of(app) == key and "✖ gpu3" in whole(app))


def _of(app: Dashboard) -> str:
    places = {"Plan": "2", "GPUs": "3", "Events": "4", "Chat": "5"}
    return places.get(app.screen.place, "") if isinstance(app.screen, Place) else ""


async def test_one_of_another_version_is_said_to_be_that(two):
    async with shown(two) as (app, _):
        two["gpu2"].publish_raw(0, b'{"host": "box2", "words": "of another time"}')
        await eventually_async(lambda: "it is of another version" in " ".join(whole(app).split()))
        assert "gpu2/vision" in rows(app), "as it was known last"
        two["gpu1"].publish(status(workload("fresh"), host="box1"))
        await eventually_async(lambda: "gpu1/fresh" in rows(app))
