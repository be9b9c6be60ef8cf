"""Every screen looks as its pictures in `shown/`, at three sizes and in two themes."""

import pytest

from tests.tui.scenes import SCENES
from tests.tui.snapshot import SHOWN, SIZES, THEMES, Picture, differences, path, pictures, played, read
from tests.tui.watched import looked, resize
from tui.view.paint import width
from tui.widgets.canvas import Canvas

ARTIFACTS = SHOWN.parents[2] / "test-artifacts" / "screens"
MOST = 30
"""Differences that are told."""


@pytest.mark.parametrize("name", SCENES)
async def test_a_screen_looks_as_it_did(tmp_path, name):
    wrong: list[str] = []
    async for size, picture, app in pictures(SCENES[name], tmp_path):
        kept = path(name, size)
        text = kept.read_text() if kept.exists() else ""
        if text == str(picture):
            continue
        found = list(differences(read(text, *size), picture)) if text else ["there is no picture of it yet"]
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        for theme in THEMES:
            app.theme = theme
            app.save_screenshot(f"{kept.stem}-{theme}.svg", str(ARTIFACTS))
        told = "\n".join(found[:MOST])
        more = f"\n… and {len(found) - MOST} more" if len(found) > MOST else ""
        wrong.append(f"{name} at {size[0]}x{size[1]} is not as {kept.name} shows it:\n{told}{more}")
    if wrong:
        told = "\n\n".join(wrong)
        pytest.fail(f"{told}\n\nas it is now: {ARTIFACTS}; if that is meant: make snapshots", pytrace=False)


@pytest.mark.parametrize("name", SCENES)
async def test_a_scroll_bar_covers_nothing(tmp_path, name):
    async with played(SCENES[name], tmp_path) as (app, pilot):
        for columns in range(73, 83, 3):
            await resize(app, pilot, (columns, 15))
            await looked(app, pilot)
            for canvas in app.screen.query(Canvas):
                room = canvas.size.width - any(face.bar for face in canvas._faces)
                for face in canvas._faces:
                    told = "".join(cell.text for cell in face.line).rstrip()
                    assert width(told) <= room, f"{canvas.id} of {columns} columns has {room} for {told!r}"


def test_every_picture_is_of_a_scene_and_all_of_them_are_small():
    there = set(SHOWN.iterdir())
    assert there == {path(name, size) for name in SCENES for size in SIZES}, "make snapshots"
    assert sum(each.stat().st_size for each in there) < 1_500_000


def test_a_picture_is_read_as_it_was_written():
    plain, red = (
        "dark: #ffffff on #000000  light: #000000 on #ffffff",
        "dark: #ff0000 on #000000  light: #800000 on #ffffff",
    )
    picture = Picture(("● ok", "", "日本"), ((red, plain, plain, plain), (plain,) * 4, (plain, red, red, red)))
    assert read(str(picture), 4, 3) == picture


def test_what_differs_is_told_in_words():
    plain, red = "white", "red"
    was = Picture(("● ok", "tail"), ((red, plain, plain, plain), (plain,) * 4))
    assert list(differences(was, was)) == []
    other = Picture(("✖ no", "tail"), ((red, plain, plain, plain), (plain, red, red, plain)))
    assert list(differences(was, other)) == [
        "line  1  - ● ok\n         + ✖ no",
        "line  2, from column 2: 'ai'\n         - white\n         + red",
    ]
