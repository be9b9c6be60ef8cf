"""The canvas: it shows pictures, draws only the lines that differ, and keeps the cursor on its thing."""

import contextlib
from dataclasses import replace

import pytest
from textual._compositor import ChopsUpdate
from textual.app import App
from textual.events import MouseScrollDown

from tests.tui.spoiled import NASTY
from tui.theme import THEMES
from tui.view.paint import Cell
from tui.view.picture import Picture, text
from tui.widgets.canvas import Canvas


class Frame(App):
    """One canvas, and a note of each line that is drawn."""

    CSS = "Canvas { background: $background; }"

    def __init__(self):
        super().__init__()
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = "dark"
        self.canvas = Canvas()
        self.drawn = []
        self.told = []

    def compose(self):
        yield self.canvas

    def _display(self, screen, renderable):
        if renderable is not None:
            spans = renderable.spans if isinstance(renderable, ChopsUpdate) else [(-1, 0, 0)]
            self.drawn += [y for y, _, _ in spans]
        super()._display(screen, renderable)

    def on_canvas_chosen(self, chosen):
        self.told.append(("chosen", chosen.key))

    def on_canvas_moved(self, moved):
        self.told.append(("moved", moved.key))

    @property
    def shown(self):
        size = self.canvas.size
        return [strip.text.rstrip() for strip in self.canvas.render_lines(size.region)]

    @property
    def lit(self):
        """Texts of the lines that look as if the cursor were there."""
        back = self.canvas.get_component_rich_style("canvas--cursor", partial=True).bgcolor
        strips = self.canvas.render_lines(self.canvas.size.region)
        return [
            strip.text.split()[0] for strip in strips if any(one.style and one.style.bgcolor == back for one in strip)
        ]


@contextlib.asynccontextmanager
async def framed(picture, size=(20, 6)):
    app = Frame()
    async with app.run_test(size=size) as pilot:
        app.canvas.focus()
        app.canvas.show(picture)
        await pilot.pause()
        app.drawn.clear()
        yield app, pilot


def listed(*names, head=(), lines=1):
    """One thing for each name, of so many lines."""
    body = [(name, Cell(text=f"{name} {number}" if number else name)) for name in names for number in range(lines)]
    return Picture(
        lines=(*text(*head), *((cell,) for _, cell in body)),
        keys=(*("" for _ in head), *(key for key, _ in body)),
        head=len(head),
    )


async def drawn(app, pilot, does):
    """The lines that are drawn because of it."""
    await pilot.pause()
    app.drawn.clear()
    does()
    await pilot.pause()
    return app.drawn


async def test_only_lines_that_differ_are_drawn():
    async with framed(Picture(lines=text("one", "two", "three"))) as (app, pilot):
        assert app.shown[:3] == ["one", "two", "three"]
        assert await drawn(app, pilot, lambda: app.canvas.show(Picture(lines=text("one", "2", "three")))) == [1]
        assert app.shown[:3] == ["one", "2", "three"]
        assert await drawn(app, pilot, lambda: app.canvas.show(Picture(lines=text("one", "2", "three")))) == []
        assert await drawn(app, pilot, lambda: app.canvas.show(Picture(lines=text("one")))) == [1, 2]


def counted(number):
    return Picture(lines=text("head", *map(str, range(number))), head=1)


async def test_what_is_followed_stays_at_its_end_until_one_scrolls_back_and_again_once_one_is_there():
    async with framed(Picture(), size=(20, 4)) as (app, pilot):
        app.canvas.show(counted(9), follow=True)
        assert [each.split()[0] for each in app.shown] == ["head", "6", "7", "8"]
        await pilot.press("k")
        app.canvas.show(counted(12), follow=True)
        assert [each.split()[0] for each in app.shown] == ["head", "5", "6", "7"]
        await pilot.press("G")
        app.canvas.show(counted(15), follow=True)
        assert [each.split()[0] for each in app.shown] == ["head", "12", "13", "14"]
        await pilot.resize_terminal(20, 3)
        await pilot.pause()
        assert [each.split()[0] for each in app.shown] == ["head", "13", "14"]
        app.canvas.show(counted(20))
        assert [each.split()[0] for each in app.shown] == ["head", "13", "14"]


async def test_a_move_of_the_cursor_draws_two_lines():
    async with framed(listed("a", "b", "c")) as (app, pilot):
        assert app.lit == ["a"]
        assert await drawn(app, pilot, lambda: app.canvas.action_move(1)) == [0, 1]
        assert app.lit == ["b"]
        assert app.told == [("moved", "a"), ("moved", "b")]


async def test_the_cursor_stays_on_its_thing_when_they_are_sorted_anew():
    async with framed(listed("a", "b", "c")) as (app, pilot):
        await pilot.press("j")
        app.canvas.show(listed("c", "a", "b"))
        assert (app.canvas.key, app.lit) == ("b", ["b"])
        app.canvas.show(listed("c", "a"))
        assert app.canvas.key == "a"  # what came nearest to its place
        app.canvas.show(Picture())
        assert app.canvas.key == ""
        app.canvas.show(listed("x"))
        assert app.canvas.key == "x"


async def test_it_stays_in_sight_when_they_are_sorted_anew():
    names = [f"n{number:02}" for number in range(30)]
    async with framed(listed(*names)) as (app, _pilot):
        app.canvas.point("n03")
        app.canvas.show(listed(*reversed(names)))
        assert app.lit == ["n03"]


async def test_what_was_scrolled_out_of_sight_by_hand_stays_there():
    names = [f"n{number:02}" for number in range(30)]
    async with framed(listed(*names)) as (app, pilot):
        for _ in range(5):
            app.canvas.post_message(MouseScrollDown(app.canvas, 1, 1, 0, 1, 0, False, False, False))
        await pilot.pause()
        first = app.shown[0]
        app.canvas.show(listed(*names, "new"))
        assert app.shown[0] == first
        await pilot.press("j")
        assert app.lit == ["n01"]  # a key brings it back


async def test_the_head_stays_when_the_rest_scrolls():
    names = [f"n{number:02}" for number in range(30)]
    async with framed(listed(*names, head=("NAME",))) as (app, pilot):
        await pilot.press("G")
        assert [line.split()[0] for line in app.shown] == ["NAME", "n25", "n26", "n27", "n28", "n29"]
        await pilot.press("g")
        assert [line.split()[0] for line in app.shown] == ["NAME", "n00", "n01", "n02", "n03", "n04"]
        await pilot.press("pagedown")
        assert app.canvas.key == "n04"


async def test_what_stands_above_the_first_thing_is_seen_again_from_there():
    things = listed(*(f"n{number:02}" for number in range(30)))
    picture = Picture(lines=(*text("a title"), *things.lines), keys=("", *things.keys))
    async with framed(picture) as (app, pilot):
        app.canvas.point("n20")
        app.canvas.point("n01")
        assert app.shown[0].split()[0] == "n01"
        await pilot.press("k")
        assert app.shown[0].startswith("a title")


async def test_a_thing_of_several_lines_is_seen_whole_and_lit_whole():
    async with framed(listed("a", "b", "c", lines=3)) as (app, pilot):
        await pilot.press("j", "j")
        assert app.lit == ["c", "c", "c"]
        await pilot.press("k")
        assert app.lit == ["b", "b", "b"]


async def test_where_nothing_can_be_chosen_keys_scroll():
    async with framed(Picture(lines=text(*map(str, range(20))))) as (app, pilot):
        await pilot.press("j")
        assert app.shown[0].split()[0] == "1"
        await pilot.press("space")
        assert app.shown[0].split()[0] == "6"
        await pilot.press("G")
        assert app.shown[-1].split()[0] == "19"
        await pilot.press("j")
        assert app.shown[-1].split()[0] == "19"


async def test_the_bar_says_how_much_there_is():
    async with framed(Picture(lines=text(*map(str, range(12))))) as (app, _pilot):
        assert [line[-1] for line in app.shown] == ["┃", "┃", "┃", "│", "│", "│"]
        app.canvas.show(Picture(lines=text(*map(str, range(36)))))  # no line in sight is another
        assert [line[-1] for line in app.shown] == ["┃", "│", "│", "│", "│", "│"]
        app.canvas.show(Picture(lines=text(*map(str, range(6)))))
        assert app.shown == [str(number) for number in range(6)]


async def test_enter_and_a_double_click_open_and_a_click_points():
    async with framed(listed("a", "b", "c")) as (app, pilot):
        await pilot.press("down", "enter")
        assert app.told[-1] == ("chosen", "b")
        await pilot.click(Canvas, offset=(0, 2))
        assert app.canvas.key == "c"
        await pilot.click(Canvas, offset=(0, 0), times=2)
        assert app.told[-1] == ("chosen", "a")
        await pilot.click(Canvas, offset=(0, 5))
        assert app.canvas.key == "a"


async def test_another_size_shows_what_fits_and_keeps_the_cursor_in_sight():
    names = [f"n{number:02}" for number in range(30)]
    async with framed(listed(*names), size=(20, 20)) as (app, pilot):
        app.canvas.point("n18")
        await pilot.resize_terminal(12, 5)
        await pilot.pause()
        assert len(app.shown) == 5
        assert app.lit == ["n18"]
        await pilot.resize_terminal(30, 40)
        await pilot.pause()
        assert len(app.shown) == 40
        assert app.shown[0] == "n00"


async def test_another_theme_has_other_colours_at_once():
    async with framed(Picture(lines=((Cell(text="x", style="good"),),))) as (app, pilot):

        def colour():
            return next(iter(app.canvas.render_lines(app.canvas.size.region)[0])).style

        before = colour()
        app.theme = "light"
        await pilot.pause()
        assert colour() != before


async def test_the_cursor_fades_where_it_has_no_focus():
    async with framed(listed("a", "b")) as (app, pilot):
        app.canvas.can_focus = False
        app.screen.set_focus(None)
        await pilot.pause()
        assert app.lit == []
        assert app.canvas.key == "a"


@pytest.mark.parametrize("nasty", NASTY)
async def test_whatever_it_shows_no_line_is_longer_or_shorter_than_it_is_wide(nasty):
    many = [(Cell(text=nasty), Cell(text="after", style="bad"))] * 9
    for width in (1, 2, 7, 20):
        async with framed(Picture(lines=tuple(many), keys=("a", *[""] * 8)), size=(width, 4)) as (app, _pilot):
            strips = app.canvas.render_lines(app.canvas.size.region)
            assert [strip.cell_length for strip in strips] == [width] * 4


async def test_what_is_wide_is_never_cut_in_half():
    async with framed(Picture(lines=text("日本語")), size=(5, 1)) as (app, _pilot):
        assert app.shown == ["日本"]
        app.canvas.show(replace(app.canvas.picture, lines=text("x日本語")))
        assert app.shown == ["x日本"]
