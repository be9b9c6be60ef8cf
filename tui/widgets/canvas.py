"""Draws a Picture: only what differs from what is drawn already. All that screens show goes through this."""

import time
from dataclasses import dataclass
from itertools import takewhile
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.app import App
from textual.binding import Binding, BindingType
from textual.events import Click, MouseScrollDown, MouseScrollUp, Resize
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.theme import look
from tui.view.paint import Style
from tui.view.picture import Line, Picture

_WHEEL = 3
"""Lines for a notch."""


class _Face(NamedTuple):
    """How a line of the widget looks."""

    line: Line
    cursor: str
    """`cursor` or `blurred` where it is under the cursor."""
    bar: str
    """Its piece of the scroll bar."""


class Canvas(Widget, can_focus=True):
    """Shows a picture, scrolls it, and lets one of its things be chosen where it names any."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"canvas--cursor", "canvas--blurred"}
    # the terminal's own colours are not known: nothing but these two can be read on each other for certain
    DEFAULT_CSS = """
    Canvas { height: 1fr; width: 1fr; }
    Canvas > .canvas--cursor { background: $cursor; }
    Canvas > .canvas--blurred { background: $cursor-blurred; }
    Canvas:ansi > .canvas--cursor { color: ansi_black; background: ansi_cyan; }
    Canvas:nocolor > .canvas--cursor, Canvas:nocolor > .canvas--blurred { text-style: reverse; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "a page up", show=False),
        Binding("pagedown,ctrl+f,space", "page(1)", "a page down", show=False),
        Binding("home,g", "end(-1)", "to the first", show=False),
        Binding("end,G", "end(1)", "to the last", show=False),
        Binding("enter", "choose", "open", tooltip="open what is pointed at"),
    ]

    @dataclass
    class Chosen(Message):
        """Somebody opened one of its things."""

        canvas: "Canvas"
        key: str

    @dataclass
    class Moved(Message):
        """Another of its things is under the cursor."""

        canvas: "Canvas"
        key: str

    def __init__(self, *, id: str | None = None, focusable: bool = True) -> None:  # noqa: A002  Textual's own word
        super().__init__(id=id)
        self.can_focus = focusable
        self.picture = Picture()
        self.key = ""
        """What is under the cursor; empty where nothing can be chosen."""
        self.strayed = 0.0
        """When the cursor went to another thing because its own was gone, seconds of CLOCK_MONOTONIC."""
        self._top: int = 0
        self._follows = False
        self._at_end = True
        self._faces: list[_Face] = []
        """What stands in each line of the widget."""
        self._drawn: dict[int, tuple[_Face, Strip]] = {}
        """What was drawn last in each of them, as it left us."""
        self._under: object = None
        """How wide it was then, and what all of that went through."""
        self._strips: dict[tuple[_Face, int], Strip] = {}
        self._styles: dict[Style, RichStyle] = {}
        self._wears: object = None
        """What these were made for."""

    # -- what is drawn

    def show(self, picture: Picture, *, follow: bool = False) -> None:
        """Draw this from now on. What was under the cursor stays there, and in sight, as long as it is there.

        `follow`: where its end is seen, it goes on to be seen.
        """
        self._follows = follow
        before, self.picture = self.picture, picture
        if self.key not in picture.keys or not self.key:
            self.strayed = time.monotonic() if self.key else 0.0
            self._take(self._nearest(before))
        self._settle()
        self._redraw()

    @property
    def at_end(self) -> bool:
        """Whether somebody has scrolled to its end."""
        return self._at_end and self._top > 0

    def _settle(self) -> None:
        """Scroll no further than there is something, and keep in sight what was under the cursor."""
        self._top = self._furthest if self._follows and self._at_end else min(self._top, self._furthest)
        span = self._span()
        if any(face.cursor for face in self._faces) and span is not None:
            first, last = span
            if first >= self._top + self._room or last < self._top:
                self._top = self._revealing(first, last)

    def _redraw(self) -> None:
        """Have those lines drawn again that look different now."""
        old, new = self._faces, self._look()
        if len(old) != len(new):
            self._faces = new
            self.refresh()
            return
        self._faces = [before if before == face else face for before, face in zip(old, new, strict=True)]
        width = self.size.width
        changed = [Region(0, y, width, 1) for y, face in enumerate(self._faces) if old[y] is not face]
        if changed:
            self.refresh(*changed)

    def _look(self) -> list[_Face]:
        """How each line of the widget looks now."""
        height, picture, key = self.size.height, self.picture, self.key
        lines, keys, head = picture.lines, picture.keys, picture.head
        bars = self._bar(max(0, height - head), len(lines) - head)
        cursor = "cursor" if self.has_focus else "blurred"
        faces: list[_Face] = []
        for y in range(height):
            number = y if y < head else y + self._top
            lit = key and number < len(keys) and keys[number] == key
            bar = "" if not bars else bars[y - head] if y >= head else " "
            faces.append(_Face(lines[number] if number < len(lines) else (), cursor if lit else "", bar))
        return faces

    def render_lines(self, crop: Region) -> list[Strip]:
        """What Textual asks for. It has no border and no padding, so what would draw these is left out."""
        if len(self._faces) != self.size.height:
            self._settle()
            self._faces = self._look()
        width, filters, background = self.size.width, self.get_line_filters(), self.background_colors[1]
        if (under := (width, filters, background)) != self._under:
            self._under = under
            self._drawn.clear()
        strips: list[Strip] = []
        for y, face in enumerate(self._faces[crop.y : crop.bottom], crop.y):
            drawn = self._drawn.get(y)
            if drawn is None or drawn[0] is not face:
                strip = self._strip(face, width)
                for each in filters:
                    strip = strip.apply_filter(each, background)
                drawn = self._drawn[y] = face, strip
            strips.append(drawn[1])
        return strips if crop.column_span == (0, width) else [strip.crop(*crop.column_span) for strip in strips]

    def _strip(self, face: _Face, width: int) -> Strip:
        found = self._strips.get((face, width))
        if found is None:
            if len(self._strips) > 4 * max(64, self.size.height):
                self._strips.clear()
            segments = [Segment(cell.text, self._style(cell.style)) for cell in face.line if cell.text]
            found = Strip(segments).adjust_cell_length(width - len(face.bar), self._style(""))
            if face.cursor:
                back = self.get_component_rich_style(f"canvas--{face.cursor}", partial=True)
                found = Strip([Segment(text, (style or RichStyle()) + back) for text, style, _ in found])
            if face.bar:
                found = Strip([*found, Segment(face.bar, self._style("dim"))], width)
            self._strips[face, width] = found
        return found

    def _style(self, style: Style) -> RichStyle:
        found = self._styles.get(style)
        if found is None:
            found = self._styles[style] = self.rich_style + look(style, self._app.theme_variables)
        return found

    @property
    def _app(self) -> App[object]:
        return self.app  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  Textual leaves it open

    def notify_style_update(self) -> None:
        """Textual looks at its styles again; where the theme is another one, nothing looks as it did."""
        super().notify_style_update()
        wears = (self._app.theme, self.rich_style)
        if wears != self._wears:
            self._wears = wears
            self._styles.clear()
            self._strips.clear()
            self._drawn.clear()

    def _bar(self, room: int, lines: int) -> str:
        """The scroll bar beside what scrolls, from top to bottom; empty where all can be seen."""
        if lines <= room or room < 3:
            return ""
        size = max(1, room * room // lines)
        first = round(self._top * (room - size) / (lines - room))
        return "│" * first + "┃" * size + "│" * (room - size - first)

    # -- where it is

    @property
    def _room(self) -> int:
        return max(0, self.size.height - self.picture.head)

    @property
    def _furthest(self) -> int:
        return max(0, len(self.picture.lines) - self.picture.head - self._room)

    def _number(self, y: int) -> int | None:
        number = y if y < self.picture.head else y + self._top
        return number if number < len(self.picture.lines) else None

    def _key_of(self, number: int) -> str:
        return self.picture.keys[number] if number < len(self.picture.keys) else ""

    def _things(self) -> list[str]:
        return list(dict.fromkeys(key for key in self.picture.keys if key))

    def _nearest(self, before: Picture) -> str:
        """What takes the place of what was under the cursor and is gone."""
        things = self._things()
        if not things:
            return ""
        older = list(dict.fromkeys(key for key in before.keys if key))
        at = older.index(self.key) if self.key in older else 0
        return things[min(at, len(things) - 1)]

    # -- how it is moved

    def point(self, key: str) -> None:
        """Put the cursor on a thing, if it is there."""
        if key in self.picture.keys:
            self._take(key)
            self._reveal()

    def _take(self, key: str) -> None:
        if key == self.key:
            return
        self.key = key
        self._redraw()
        self.post_message(self.Moved(self, key))

    def _span(self) -> tuple[int, int] | None:
        """The first and the last line of what is under the cursor, of those that scroll."""
        if not self.key or self.key not in self.picture.keys:
            return None
        first = self.picture.keys.index(self.key)
        last = first + sum(1 for _ in takewhile(lambda key: key == self.key, self.picture.keys[first:])) - 1
        return first - self.picture.head, last - self.picture.head

    def _reveal(self) -> None:
        """Scroll until all of what is under the cursor can be seen, or as much of it as there is room for."""
        if span := self._span():
            self._scroll(self._revealing(*span))

    def _revealing(self, first: int, last: int) -> int:
        """The first line that is seen then."""
        if self.key == self._things()[0]:
            return 0  # and what stands above the first of them
        top = max(self._top, last - self._room + 1)
        return max(0, min(top, first, self._furthest))

    def _scroll(self, top: int) -> None:
        top = max(0, min(top, self._furthest))
        self._at_end = top == self._furthest
        if top != self._top:
            self._top = top
            self._redraw()

    def action_move(self, by: int) -> None:
        """To the next thing, or so many lines where there is none."""
        things = self._things()
        if not things:
            self._scroll(self._top + by)
            return
        at = things.index(self.key) + by if self.key in things else 0
        if 0 <= at < len(things):
            self.point(things[at])
        else:
            self._scroll(self._top + by)

    def action_page(self, by: int) -> None:
        """As far as can be seen at once."""
        things = self._things()
        if not things:
            self._scroll(self._top + by * max(1, self._room - 1))
            return
        visible = {self._key_of(number) for y in range(self.size.height) if (number := self._number(y)) is not None}
        at = things.index(self.key) if self.key in things else 0
        self.point(things[max(0, min(len(things) - 1, at + by * max(1, len(visible - {""}) - 1)))])

    def action_end(self, by: int) -> None:
        """To the first or the last."""
        if things := self._things():
            self.point(things[-1 if by > 0 else 0])
        self._scroll(self._furthest if by > 0 else 0)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nothing is opened where nothing can be chosen."""
        return bool(self.key) if action == "choose" else super().check_action(action, parameters)

    async def action_choose(self) -> None:
        """Open what is under the cursor, at once: the next key is for what is opened."""
        if self.key:
            await self.screen._dispatch_message(self.Chosen(self, self.key))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def on_click(self, event: Click) -> None:
        """One click moves the cursor there, two open it."""
        number = self._number(event.y)
        if number is not None and (key := self._key_of(number)):
            self._take(key)
            if event.chain == 2:
                await self.action_choose()

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Scroll."""
        self._scroll(self._top + _WHEEL)
        event.stop()

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Scroll."""
        self._scroll(self._top - _WHEEL)
        event.stop()

    def on_resize(self, _event: Resize) -> None:
        """Other lines fit."""
        self._settle()
        self._redraw()

    def watch_has_focus(self, _has_focus: bool) -> None:
        """The cursor looks different."""
        super().watch_has_focus(_has_focus)
        self._redraw()
