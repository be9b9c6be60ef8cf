"""Makes the pictures in docs/, and the table of keys: `python -m tests.tui.pictures [NAME…]` writes them."""

import asyncio
import contextlib
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from reconciler.client import Client
from reconciler.model.memory import Memory
from tests.eventually import eventually_async
from tests.tui import pictured
from tests.tui.daemon import Daemon
from tui.app import Dashboard
from tui.screens.chat import Chat
from tui.screens.help import Help
from tui.view.world import World

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/dashboard.md"
PLACE = ROOT / "docs/pictures"
_FONTS = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 WIDTH HEIGHT" role="img">
<style>text {{ font: 20px FONTS }} {styles}</style>
<rect x="1" y="1" width="INNER" height="LESS" rx="10" fill="GROUND" stroke="gray" stroke-opacity="0.5"/>
<g transform="translate(12, 10)">{backgrounds}{matrix}</g>
</svg>
"""


class Picture(NamedTuple):
    """What is on one."""

    name: str
    place: str
    key: str = ""
    """Of the workload that it is about."""
    keys: str = ""
    """That are pressed there."""
    wait: tuple[str, ...] = ()
    """What must have come."""
    gone: str = "\0"
    """What must have gone again."""
    size: tuple[int, int] = (120, 34)
    theme: str = "dark"
    edited: bool = False
    """Whether the fleet is paused, and its files were edited."""

    def is_there(self, text: str) -> bool:
        """Whether that can be seen which it is to show."""
        return all(each in text for each in self.wait) and self.gone not in text


PICTURES = (
    Picture("fleet", "Fleet", wait=("backing off",)),
    Picture("fleet-light", "Fleet", wait=("backing off",), theme="light"),
    Picture("fleet-small", "Fleet", wait=("backing off",), size=(80, 24)),
    Picture("fleet-wide", "Fleet", wait=("backing off",), size=(190, 34)),
    Picture("plan", "Plan", wait=("context 16384",), edited=True),
    Picture("gpus", "GPUs", wait=("pid 7714",)),
    Picture("events", "Events", wait=("took up 5",), size=(120, 22)),
    Picture("workload", "Workload", "/chat", wait=("Avg prompt", "FIRST TOKEN"), size=(120, 42)),
    Picture("logs", "Logs", "/vision", wait=("OutOfMemoryError", "exited with status 1"), gone="KiB read"),
    Picture("chat", "Chat", "/chat", wait=("in all",), size=(120, 28)),
    Picture("palette", "Fleet", keys="ctrl+p c h a", wait=("open chat",)),
)


class Posed(Dashboard):
    """Knows a world that stands still."""

    BINDINGS = Dashboard.BINDINGS  # Help tells those that a class declares itself

    def __init__(self, world: World, client: Client, theme: str) -> None:
        self._told, self._client = world, client
        super().__init__({}, theme=theme)

    def _look(self) -> World:
        return self._told

    def client(self, machine: str) -> Client:
        return self._client


@contextlib.asynccontextmanager
async def posed(picture: Picture, place: Path) -> AsyncGenerator[Posed]:
    """The dashboard as it is to be drawn. `place`: a directory for what it needs."""
    before = pictured.declared()
    on = pictured.observation(before)
    of = pictured.declared(**pictured.EDITED) if picture.edited else before
    status, road = pictured.said(of, on, Memory(paused=True) if picture.edited else None)
    with Daemon(place / "sock", status) as daemon:
        daemon.answers["/plan"] = lambda _: road
        daemon.answers["/metrics"] = lambda _: pictured.metrics()
        for name in pictured.DOCUMENTS:
            daemon.answers[f"/workloads/{name}"] = lambda _, name=name: pictured.about(of, on, name)
        for slot, log in pictured.LOGS.items():
            daemon.write(slot, log, run=5 if slot == "vision/0" else 1)
        app = Posed(pictured.world(status), daemon.client, picture.theme)
        async with app.run_test(size=picture.size) as pilot:
            app.visit(picture.place, picture.key)
            await eventually_async(lambda: app.screen.is_mounted)
            for key in picture.keys.split():
                await pilot.press(key)
            if isinstance(app.screen, Chat) and (talk := app.screen.talk) is not None:
                talk._ended.append(pictured.TURN)
                app.wake()
            await eventually_async(lambda: picture.is_there(seen(app)), what=f"{picture}:\n{seen(app)}")
            await pilot.pause()
            yield app


def _printed(app: Dashboard) -> Console:
    """What is seen, printed."""
    columns, lines = app.size
    console = Console(
        width=columns, height=lines, file=io.StringIO(), record=True,
        force_terminal=True, color_system="truecolor", legacy_windows=False, safe_box=False,
    )  # fmt: skip
    console.print(app.screen._compositor.render_update(full=True, screen_stack=app._background_screens))
    return console


def seen(app: Dashboard) -> str:
    """The words that are seen."""
    return _printed(app).export_text()


def drawn(app: Dashboard) -> str:
    """What is seen as an SVG in a common font, that says nothing twice."""
    columns, lines = app.size
    ground = app.theme_variables["background"]
    width, height = columns * 12.2 + 24, lines * 24.4 + 22
    said = {"WIDTH": width, "HEIGHT": height, "INNER": width - 2, "LESS": height - 2, "FONTS": _FONTS, "GROUND": ground}
    page = _SVG
    for word, value in said.items():
        page = page.replace(word, value if isinstance(value, str) else f"{value:g}")
    svg = _printed(app).export_svg(title="", code_format=page, unique_id="t")
    svg = re.sub(r' clip-path="[^"]*"', "", svg).replace("&#160;", "\u00a0")
    return re.sub(rf'<rect fill="{ground}"[^>]*/>', "", svg)


async def made(picture: Picture) -> str:
    """One of them."""
    with tempfile.TemporaryDirectory() as place:
        async with posed(picture, Path(place)) as app:
            return drawn(app)


async def keys() -> list[tuple[str, Sequence[tuple[str, str]]]]:
    """All keys, by where they hold, as the screens declare them."""
    with tempfile.TemporaryDirectory() as place:
        async with posed(Picture("help", "Help", wait=("Everywhere",)), Path(place)) as app:
            assert isinstance(app.screen, Help)
            return [(section.title, section.keys) for section in app.screen._sections()]


def table(sections: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """The same for a page."""
    rows = ["| where | key | does |", "|---|---|---|"]
    for title, some in sections:
        for number, (key, does) in enumerate(some):
            shown = " ".join(f"`{each}`" for each in key.split())
            rows.append(f"| {'' if number else title} | {shown} | {does} |")
    return "\n".join(rows)


KEYS = re.compile(r"(?<=<!-- keys -->\n).*?(?=\n<!-- end -->)", re.DOTALL)


async def write(names: Sequence[str]) -> None:
    """The pictures with these names, or all; and the keys."""
    PLACE.mkdir(exist_ok=True)
    for picture in PICTURES:
        if not names or picture.name in names:
            (PLACE / f"{picture.name}.svg").write_text(await made(picture))
    if PAGE.exists():
        listed = table(await keys())
        PAGE.write_text(KEYS.sub(lambda _: listed, PAGE.read_text()))


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    asyncio.run(write(sys.argv[1:]))
