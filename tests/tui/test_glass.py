"""What is written to the terminal: as little as there is to say, and it shows what Textual meant."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from tests.tui.spoiled import NASTY
from tests.tui.vt import Terminal
from tui.widgets.glass import Glass

WIDTH, HEIGHT = 16, 3
CONSOLE = Console(file=io.StringIO(), color_system="truecolor", force_terminal=True, legacy_windows=False)
STYLES = (None, Style(), Style(color="#112233", bgcolor="#000000"), Style(color="#445566", bgcolor="#000000"),
          Style(bold=True), Style(bold=True, color="red"), Style(reverse=True, bgcolor="blue"))  # fmt: skip


def strip(*pieces, width=WIDTH):
    made = Strip([Segment(*piece) if isinstance(piece, tuple) else Segment(piece) for piece in pieces])
    return made.adjust_cell_length(width)


def whole(*lines):
    return LayoutUpdate([[line] for line in lines], Region(0, 0, lines[0].cell_length, len(lines)))


def some(lines, height=HEIGHT):
    """`lines`: by number."""
    ends = [[WIDTH] for _ in range(height)]
    chops = [{0: lines.get(y)} for y in range(height)]
    return ChopsUpdate(chops, [(y, 0, WIDTH) for y in sorted(lines)], ends)


LETTERS = ("a", "a", "b", " ", "1", "2", ".", "●", "日", "本", "👍", "e\u0301", "👩\u200d👧")
letters = st.lists(st.sampled_from(LETTERS), max_size=10).map("".join)
lines = st.lists(st.tuples(letters, st.sampled_from(STYLES)), max_size=4).map(lambda pieces: strip(*pieces))
updates = st.one_of(
    st.lists(lines, min_size=HEIGHT, max_size=HEIGHT).map(lambda made: whole(*made)),
    st.dictionaries(st.integers(0, HEIGHT - 1), lines, min_size=1).map(some),
)


@given(first=st.lists(lines, min_size=HEIGHT, max_size=HEIGHT), then=st.lists(updates, max_size=5))
def test_the_terminal_shows_what_textual_would_have_written(first, then):
    ours, theirs, glass = Terminal(WIDTH, HEIGHT), Terminal(WIDTH, HEIGHT), Glass()
    for update in (whole(*first), *then):
        theirs.feed(update.render_segments(CONSOLE))
        ours.feed(glass.through(update).render_segments(CONSOLE))
        assert ours.cells == theirs.cells


def test_only_the_cells_that_differ_are_written():
    glass = Glass()
    glass.written(whole(strip("chat  12.4 tok/s"), strip("code   0.0 tok/s")), CONSOLE)
    update = some({0: strip("chat  12.7 tok/s"), 1: strip("code   0.0 tok/s")}, height=2)
    assert glass.written(update, CONSOLE) == "\x1b[1;10H\x1b[0m7\x1b[0m"
    assert glass.written(some({1: strip("code   0.0 tok/s")}, height=2), CONSOLE) == ""


def test_what_lies_behind_is_not_seen_where_nothing_was_to_be_updated():
    """Beside what is new, Textual hands over what it rendered of the screen behind all widgets: blanks."""
    ours, glass = Terminal(WIDTH, HEIGHT), Glass()
    ours.feed(glass.written(whole(*[strip("chat      cpu 3 %")] * HEIGHT), CONSOLE))
    beside = {0: strip(width=10), 10: strip("cpu 4 ", width=WIDTH - 10)}
    update = ChopsUpdate([dict(beside)] * HEIGHT, [(1, 14, 15)], [[10, WIDTH]] * HEIGHT)
    ours.feed(glass.written(update, CONSOLE))
    assert ["".join(cell[0] for cell in line) for line in ours.cells][1] == "chat      cpu 4 "


@pytest.mark.parametrize("text", ["abcd", "abcdefgh", "abcde日", ""])
def test_signs_whose_width_is_disputed_move_nothing_that_stands_beside_them(text):
    """A strip may say that it is wider, or narrower, than its signs are counted here."""
    blue = Style(bgcolor="#0000ff")
    beside = Strip([Segment("|" + " " * (WIDTH - 7), blue)])
    told = LayoutUpdate([[Strip([Segment(text, blue)], 6), beside]], Region(0, 0, WIDTH, 1))
    terminal, glass = Terminal(WIDTH, 1), Glass()
    terminal.feed(glass.written(told, CONSOLE))
    assert terminal.lines[0].index("|") == 6
    terminal.feed(glass.written(ChopsUpdate([{0: strip((" " * WIDTH, blue))}], [(0, 0, 6)], [[WIDTH]]), CONSOLE))
    assert "".join(cell[0] for cell in terminal.cells[0]) == " " * 6 + "|" + " " * (WIDTH - 7)
    assert len({look for _, look in terminal.cells[0]}) == 1


def test_a_colour_is_said_once_and_only_where_it_is_another_one():
    glass = Glass()
    plain, red = Style(color="#112233", bgcolor="#000000"), Style(color="#ff0000", bgcolor="#000000")
    glass.written(whole(strip(" " * WIDTH)), CONSOLE)
    written = glass.written(whole(strip(("ab", plain), ("cd", plain), ("ef", red), "")), CONSOLE)
    assert written == "\x1b[1;1H\x1b[0;38;2;17;34;51;48;2;0;0;0mabcd\x1b[38;2;255;0;0mef\x1b[0m"


def test_what_is_near_is_written_again_rather_than_stepped_over():
    glass = Glass()
    glass.written(whole(strip("a1b2ccccccccd3")), CONSOLE)
    assert glass.written(whole(strip("a4b5ccccccccd6")), CONSOLE) == "\x1b[1;2H\x1b[0m4b5\x1b[14G6\x1b[0m"


def test_of_another_size_all_is_written_again():
    glass = Glass()
    glass.written(whole(strip("one"), strip("two")), CONSOLE)
    assert "one" in glass.written(whole(strip("one")), CONSOLE)
    assert "one" in glass.written(whole(strip("one", width=9)), CONSOLE)


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT + 1), (WIDTH, HEIGHT - 1), (WIDTH + 1, HEIGHT), (WIDTH - 1, HEIGHT)])
def test_pieces_for_another_size_are_left_to_the_whole_that_follows(size):
    glass, terminal = Glass(), Terminal(*size)
    terminal.feed(glass.written(whole(*[strip("one", width=size[0])] * size[1]), CONSOLE))
    assert glass.written(some({y: strip("two") for y in range(HEIGHT)}), CONSOLE) == ""
    terminal.feed(glass.written(whole(*[strip("two", width=size[0])] * size[1]), CONSOLE))
    assert terminal.lines == ["two".ljust(size[0])] * size[1]


def test_what_was_forgotten_is_written_again():
    glass = Glass()
    glass.written(whole(strip("one"), strip("two")), CONSOLE)
    glass.forget()
    assert "one" in glass.written(some({0: strip("one")}, height=2), CONSOLE)
    assert "two" in glass.written(whole(strip("one"), strip("two")), CONSOLE)
    assert glass.written(whole(strip("one"), strip("two")), CONSOLE) == ""


def test_nothing_that_a_terminal_obeys_gets_through_before_all_of_it_was_written():
    for nasty in NASTY:
        terminal = Terminal(WIDTH, HEIGHT)
        terminal.feed(Glass().written(some({1: strip(nasty), 2: strip("after")}), CONSOLE))
        assert terminal.lines[2] == "after".ljust(WIDTH)


def test_nothing_that_a_terminal_obeys_gets_through_once_it_was_forgotten():
    glass, terminal = Glass(), Terminal(WIDTH, HEIGHT)
    terminal.feed(glass.written(whole(strip(""), strip("")), CONSOLE))
    glass.forget()
    for nasty in NASTY:
        terminal.feed(glass.written(some({0: strip(nasty)}, height=2), CONSOLE))


def test_nothing_that_a_terminal_obeys_gets_through():
    for nasty in NASTY:
        glass, terminal = Glass(), Terminal(WIDTH, HEIGHT)
        line = strip(nasty)
        terminal.feed(glass.written(whole(strip("x" * WIDTH), line), CONSOLE))
        assert terminal.lines[0] == "x" * WIDTH
        terminal.feed(glass.written(whole(strip("y" * WIDTH), line), CONSOLE))
        assert terminal.lines[0] == "y" * WIDTH


JOINED = st.text(st.sampled_from([*"a ", "\u200d", "\u0301", "日", "👩", "❤", "\ufe0f", "🇩", "🏽", "ﷺ"]), max_size=8)


@given(pieces=st.lists(st.tuples(JOINED, st.sampled_from(STYLES)), max_size=3))
def test_no_line_is_wider_than_textual_takes_it_for(pieces):
    glass, terminal = Glass(), Terminal(WIDTH, HEIGHT)
    terminal.feed(glass.written(whole(strip(*pieces), strip("two", " " * 12, "x")), CONSOLE))
    assert terminal.lines[1] == "two" + " " * 12 + "x"


def test_no_link_of_anybody_gets_through():
    assert "evil" not in Glass().written(whole(strip(("text", Style(link="https://evil.example")))), CONSOLE)
