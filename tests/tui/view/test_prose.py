"""Markdown as lines: what models write is laid out calmly, and nothing of it gets lost or acts."""

import pytest

from tui.view.flow import flow
from tui.view.paint import Cell, width
from tui.view.prose import Prose, prose


def shown(text: str, columns: int = 40) -> list[str]:
    return ["".join(cell.text for cell in line).rstrip() for line in prose(text, columns)]


def styles(text: str) -> dict[str, str]:
    return {cell.text: cell.style for line in prose(text, 60) for cell in line if cell.text.strip()}


CASES = {
    "paragraphs are wrapped between words": (
        "one two three four five six seven eight nine ten",
        ["one two three four five six seven eight", "nine ten"],
    ),
    "a newline within a paragraph is a space": ("one\ntwo", ["one two"]),
    "a heading is a line": ("# One\ntext", ["One", "", "text"]),
    "lists have marks, and hang": (
        "- one\n- two three four five six seven eight nine ten\n",
        ["• one", "• two three four five six seven eight", "  nine ten"],
    ),
    "numbers go on where they were begun": ("3. c\n4. d", ["3. c", "4. d"]),
    "lists within lists": ("1. one\n   - inner\n2. two", ["1. one", "   • inner", "2. two"]),
    "items with paragraphs have room": ("- one\n\n- two", ["• one", "", "• two"]),
    "a quote stands behind a bar": ("> one\n> two", ["│ one two"]),
    "code stands as it is, its language above": (
        "```python\ndef f():\n\n    return 1\n```",
        ["▎ python", "▎ def f():", "▎", "▎     return 1"],
    ),
    "code of no known language": ("```no-such\na  b\n```", ["▎ no-such", "▎ a  b"]),
    "code that is still being written": ("```python\nx = 1", ["▎ python", "▎ x = 1"]),
    "long lines of code go on below": ("```\n" + "x" * 50 + "\n```", ["▎ " + "x" * 38, "▎ " + "x" * 12]),
    "a table has columns": ("| a | bb |\n|---|---|\n| 1 | 2 |", ["a  bb", "─────", "1  2"]),
    "a wide table wraps in its widest column": (
        "| n | text |\n|---|---|\n| 1 | " + "word " * 10 + "|",
        ["n  text", "─" * 40, "1  word word word word word word word", "   word word word"],
    ),
    "where a link leads is seen": ("[docs](https://x.y/z)", ["docs (https://x.y/z)"]),
    "an address is not told twice": ("<https://x.y/z>", ["https://x.y/z"]),
    "HTML is text": ("<b>bold</b> <script>x</script>", ["<b>bold</b> <script>x</script>"]),
    "a rule": ("a\n\n---\n\nb", ["a", "", "─" * 24, "", "b"]),
    "scripts without spaces are wrapped too": ("漢" * 25, ["漢" * 20, "漢" * 5]),
    "words across styles are not torn": ("a **b**c " * 13, [" ".join(["a bc"] * 8), " ".join(["a bc"] * 5)]),
}


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES.keys())
def test_it_is_laid_out(text, lines):
    assert shown(text) == lines


def test_what_is_marked_is_styled():
    found = styles("**bold** `code` ~~gone~~\n\n```python\ndef f(): return 'x'  # why\n```")
    assert (found["bold"], found["code"], found["gone"]) == ("bold", "accent", "dim")
    assert (found["def"], found["'x'"], found["# why"]) == ("hue0", "hue2", "dim")


@pytest.mark.parametrize("columns", [12, 20, 79])
def test_no_line_is_wider_than_there_is_room_for(columns):
    text = "# " + "漢字x " * 30 + "\n\n" + "- " + "word " * 40 + "\n\n```c\n" + "int 漢;" * 30 + "\n```\n\n" + "y" * 300
    assert max(width(line) for line in shown(text, columns)) <= columns


def test_nothing_that_was_said_is_lost_at_any_width():
    text = "one two\n\n- three\n- four\n\n```\nfive\n```\n\n| six | seven |\n|---|---|\n| eight | nine |"
    for columns in (20, 40):
        found = "".join("".join(line.split()) for line in shown(text, columns))
        for word in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"):
            assert word in found


@pytest.mark.parametrize("at", range(0, 400, 7))
def test_wherever_it_is_cut_while_it_grows_it_can_be_shown(at):
    text = (
        CASES["lists within lists"][0] + "\n\n```python\nx = 1\n\ny\n```\n\n| a | b |\n|---|---|\n| **1** | `2` |\n" * 6
    )
    prose(text[:at], 30)


def test_only_the_last_block_is_laid_out_again_while_it_grows():
    text = "".join(f"paragraph {number}\n\n" for number in range(50))
    grown = Prose(40)
    before = grown.lines(text + "the la")
    after = grown.lines(text + "the last")
    assert all(one is other for one, other in zip(before[:-1], after, strict=False))
    assert after == prose(text + "the last", 40)


def test_a_long_table_is_not_laid_out_again_for_each_word_while_it_grows_and_is_whole_in_the_end():
    table = "| name | size |\n|---|---|\n" + "".join(f"| row {number} | {number} GiB |\n" for number in range(300))
    grown = Prose(40)
    first = grown.lines(table, grows=True)
    assert grown.lines(table + "| one ", grows=True) is first
    assert grown.lines(table + "| one more | 1 |\n" * 20, grows=True) == prose(table + "| one more | 1 |\n" * 20, 40)
    more = table + "| one more | 1 |\n" * 20 + "| last "
    assert grown.lines(more, grows=True) != prose(more, 40)
    assert grown.lines(more) == prose(more, 40)


def test_what_is_no_longer_as_it_was_is_laid_out_anew():
    grown = Prose(40)
    grown.lines("one\n\ntwo\n\nthree")
    assert grown.lines("one\n\n2") == prose("one\n\n2", 40)


def test_plain_text_keeps_its_lines_and_its_marks():
    assert Prose(40, plain="dim").lines("# a\n*b*\n\n1. c") == [
        (Cell(text="# a", style="dim"),),
        (Cell(text="*b*", style="dim"),),
        (),
        (Cell(text="1. c", style="dim"),),
    ]


def test_what_a_terminal_would_act_on_is_left_out():
    assert shown("a\x1b[2Jb\u202e\n\n```\x1b]0;t\x07\n\tc\n```") == ["ab", "", "▎     c"]


def test_a_long_stretch_of_code_is_laid_out_in_parts_that_show_no_seam():
    code = [f"value_{number} = {number}" for number in range(200)]
    found = shown("before\n\n```python\n" + "\n".join(code) + "\n```\nafter")
    assert found == ["before", "", "▎ python", *(f"▎ {line}" for line in code), "", "after"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "*a" * 5000,
        ">" * 3000 + "a",
        "- " * 3000,
        "`" * 9999,
        "|" * 3000 + "\n" + "|-" * 1500,
        "a" * 200_000,
    ],
    ids=lambda text: text[:6],
)
def test_what_nobody_would_write_is_shown_too(text):
    assert shown(text)


def test_pieces_of_one_style_are_one_piece():
    cells = [Cell(text="a"), Cell(text=" b"), Cell(text=" c", style="bold")]
    assert flow(cells, 20) == [(Cell(text="a b"), Cell(text=" c", style="bold"))]
