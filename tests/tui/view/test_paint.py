"""Text of a given width: what a terminal makes of it, wide characters too."""

import pytest
from rich.cells import cell_len

from tui.view.paint import Cell, columns, cut, pad, width, wrap


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("日本語", 2, "…"),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("● ready", 4, "● r…"),
    ],
)
def test_text_is_cut_by_what_it_takes_on_a_terminal(text: str, most: int, shown: str):
    assert cut(text, most) == shown


def test_all_that_is_taken_to_be_one_column_wide_is():
    for code in (*range(0x20, 0x7F), *range(0xA0, 0x3100), *range(0x1F300, 0x1F400)):
        assert width(chr(code)) == cell_len(chr(code)), hex(code)


def test_a_text_is_padded_to_the_left_or_to_the_right():
    assert pad("日本", 6) == "日本  "
    assert pad("12", 4, right=True) == "  12"
    assert pad("12345", 4, right=True) == "123…"


def test_columns_stand_one_beneath_the_other_whatever_is_in_them():
    rows = [[Cell(text="模型"), Cell(text="1")], [Cell(text="chat"), Cell(text="22")], [Cell(text="x"), Cell(text="3")]]
    assert columns(rows, width=20, colour=False) == ["模型  1", "chat  22", "x     3"]


def test_wrapped_lines_fit_whatever_is_in_them():
    text = "cannot load 日本語の長い名前のモデル日本語の長い名前のモデル because of it"
    lines = wrap(text, width=30, indent="    ")
    assert max(map(cell_len, lines)) <= 30
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(line.startswith("    ") for line in lines)
