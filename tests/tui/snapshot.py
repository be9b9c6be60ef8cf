"""Pictures of every screen, kept beside the tests in `shown/`: text first, then how each letter looks, in two themes.

`python -m tests.tui.snapshot` takes them anew, after a screen was changed on purpose; `git diff` shows what that did.
"""

import asyncio
import contextlib
import os
import string
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from rich.color import ColorSystem
from textual.pilot import Pilot

from tests.eventually import eventually_async
from tests.tui.daemon import Daemon
from tests.tui.scenes import SCENES, Scene, furnish
from tests.tui.watched import Watched, looked, resize, watched

SHOWN = Path(__file__).parent / "shown"
SIZES = ((250, 70), (120, 36), (80, 24))
THEMES = ("dark", "light")
_LETTERS = string.ascii_letters + string.digits + "αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΞΠΣΦΨΩ"
_ATTRIBUTES = {"a1": "bold", "a2": "faint", "a3": "italic", "a4": "underlined", "a7": "reversed"}


class Picture(NamedTuple):
    """What was seen: lines of text, and how each column looks, in words, one for each theme."""

    lines: tuple[str, ...]
    looks: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        """As it is kept. A line of looks ends with the letter that holds to its end."""
        words = dict.fromkeys(look for row in self.looks for look in row)
        named = dict(zip(words, _LETTERS, strict=False))
        rows = ["".join(named[look] for look in row) for row in self.looks]
        rows = [row.rstrip(row[-1]) + row[-1] for row in rows]
        return "\n".join([*self.lines, "", *rows, "", *(f"{named[look]}  {look}" for look in words), ""])


def read(text: str, columns: int, rows: int) -> Picture:
    """As it was kept."""
    lines = text.split("\n")
    words = {line[0]: line[3:] for line in lines[2 * rows + 2 :] if line}
    looks = tuple(
        tuple(words[letter] for letter in row.ljust(columns, row[-1])) for row in lines[rows + 1 : 2 * rows + 1]
    )
    return Picture(tuple(lines[:rows]), looks)


def differences(was: Picture, now: Picture) -> Iterator[str]:
    """In words: which lines read otherwise, and which only look so."""
    for number, (old, new) in enumerate(zip(was.lines, now.lines, strict=True), start=1):
        if old != new:
            yield f"line {number:2}  - {old}\n         + {new}"
        elif was.looks[number - 1] != now.looks[number - 1]:
            yield from _looks(number, new, was.looks[number - 1], now.looks[number - 1])


def _looks(number: int, text: str, was: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    at = 0
    for (old, new), group in groupby(zip(was, now, strict=True)):
        end = at + len(list(group))
        if old != new:
            yield f"line {number:2}, from column {at + 1}: {text[at:end].strip()!r}\n         - {old}\n         + {new}"
        at = end


def _look(look: str) -> str:
    """`#rrggbb on #rrggbb bold`, of what a terminal was told."""
    told = {"38": "the terminal's own", "48": "the terminal's own"}
    words: list[str] = []
    for part in filter(None, look.split(";")):
        if part[:2] in told:
            told[part[:2]] = "#" + "".join(f"{int(number):02x}" for number in part[2:].split(",")[1:])
        else:
            words.append(_ATTRIBUTES.get(part, part))
    return " ".join((told["38"], "on", told["48"], *words))


@contextlib.asynccontextmanager
async def played(scene: Scene, place: Path) -> AsyncGenerator[tuple[Watched, Pilot[None]]]:
    """A scene, once all of it is there."""
    with steady(), Daemon(place / "sock") as daemon:
        furnish(daemon)
        app = Watched({"": daemon.client}, scene.world(), theme=THEMES[0])
        app.console._color_system = ColorSystem.TRUECOLOR
        async with watched(app, SIZES[0]) as pilot:
            await _set(app, pilot, scene)
            yield app, pilot


async def pictures(scene: Scene, place: Path) -> AsyncGenerator[tuple[tuple[int, int], Picture, Watched]]:
    """Of a scene at every size; between them the app may be asked for more."""
    async with played(scene, place) as (app, pilot):
        for size in SIZES:
            await resize(app, pilot, size)
            yield size, await _picture(app, pilot), app


async def _set(app: Watched, pilot: Pilot[None], scene: Scene) -> None:
    app.visit(scene.place, f"/{scene.of}" if scene.of else "")
    await looked(app, pilot)
    scene.first(app)
    app.draw()
    await eventually_async(lambda: _has(app, scene.before), what=f"{scene.before}")
    if scene.keys:
        await pilot.press(*scene.keys)
    await eventually_async(lambda: _has(app, scene.until), what=f"{scene.until}")


def _has(app: Watched, texts: Sequence[str]) -> bool:
    app.screen._on_timer_update()
    seen = "\n".join(app.terminal.lines)
    return all(text in seen for text in texts)


async def _picture(app: Watched, pilot: Pilot[None]) -> Picture:
    seen: list[list[list[tuple[str, str]]]] = []
    for theme in THEMES:
        app.theme = theme
        seen.append(await _still(app, pilot))
    app.theme = THEMES[0]
    texts = [["".join(letter for letter, _ in row).rstrip() for row in cells] for cells in seen]
    assert texts[0] == texts[1], "it says something else in another theme"
    looks = tuple(
        tuple(
            "  ".join(f"{theme}: {_look(look)}" for theme, (_, look) in zip(THEMES, cell, strict=True))
            for cell in zip(*rows, strict=True)
        )
        for rows in zip(*seen, strict=True)
    )
    return Picture(tuple(texts[0]), looks)


async def _still(app: Watched, pilot: Pilot[None]) -> list[list[tuple[str, str]]]:
    """What stands on the terminal, once it does not change any more."""
    before: list[list[tuple[str, str]]] = []
    for _ in range(50):
        await pilot.pause()
        if app.terminal.cells == before:
            break
        before = [list(row) for row in app.terminal.cells]
    await looked(app, pilot)
    return [list(row) for row in app.terminal.cells]


@contextlib.contextmanager
def steady() -> Generator[None, None, None]:
    """Whoever looks is in UTC and sees colours."""
    before = dict(os.environ)
    os.environ["TZ"] = "UTC"
    os.environ.pop("NO_COLOR", None)
    time.tzset()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        time.tzset()


def path(name: str, size: tuple[int, int]) -> Path:
    """Where it is kept."""
    return SHOWN / f"{name}-{size[0]}x{size[1]}.txt"


async def _renew(name: str, place: Path) -> Iterator[Path]:
    written: list[Path] = []
    async for size, picture, _ in pictures(SCENES[name], place):
        path(name, size).write_text(str(picture))
        written.append(path(name, size))
    return iter(written)


def main() -> None:
    """Take all of them anew, and forget those of scenes that are gone."""
    SHOWN.mkdir(exist_ok=True)
    written: set[Path] = set()
    for name in SCENES:
        with tempfile.TemporaryDirectory() as place:
            written.update(asyncio.run(_renew(name, Path(place))))
    for old in set(SHOWN.iterdir()) - written:
        old.unlink()
    size = sum(each.stat().st_size for each in written)
    print(f"{len(written)} pictures in {SHOWN}, {size / 2**20:.2f} MiB; look at `git diff`")


if __name__ == "__main__":
    main()
