"""A dashboard that knows a world of ours, without a daemon; and what is seen of it."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from textual.geometry import Region
from textual.strip import Strip

from tests.eventually import eventually_async
from tui.app import Dashboard
from tui.screens.place import Place
from tui.view.world import World
from tui.widgets.canvas import Canvas


class Known(Dashboard):
    """Knows `told`, which may be changed, and keeps where one was sent that is about one workload."""

    def __init__(self, world: World) -> None:
        self.told = world
        self.visited: list[tuple[str, str]] = []
        super().__init__({})

    def _look(self) -> World:
        return self.told

    def visit(self, place: str, key: str = "") -> None:
        if place in ("Workload", "Logs"):
            self.visited.append((place, key))
        else:
            super().visit(place, key)


@contextlib.asynccontextmanager
async def shown(
    world: World, place: str = "Fleet", size: tuple[int, int] = (120, 36)
) -> AsyncGenerator[tuple[Known, Any]]:
    """At one of its places."""
    app = Known(world)
    async with app.run_test(size=size) as pilot:
        if place != "Fleet":
            app.visit(place)
        await eventually_async(
            lambda: (
                isinstance(app.screen, Place)
                and app.screen.place == place
                and any(canvas.picture.lines for canvas in app.screen.query(Canvas) if canvas.can_focus)
            ),
            what=place,
        )
        yield app, pilot


def canvas(app: Dashboard, name: str) -> Canvas:
    return app.screen.query_one(f"#{name}", Canvas)


def strips(of: Canvas) -> list[Strip]:
    return of.render_lines(Region(0, 0, *of.size))


def seen(of: Canvas) -> str:
    return "\n".join(strip.text for strip in strips(of))


def whole(app: Dashboard) -> str:
    return "\n".join(seen(each) for each in app.screen.query(Canvas) if each.display)


def check_all_fits(app: Dashboard) -> None:
    """No line is wider or narrower than its widget, and none holds what a terminal would obey."""
    for each in app.screen.query(Canvas):
        for strip in strips(each):
            assert strip.cell_length == each.size.width
            assert not any(ord(letter) < 32 for letter in strip.text)
