"""The page of keys, at several widths."""

import pytest

from tui.view.help import Section, help_page

SECTIONS = [
    Section(f"part {number}", tuple((f"k{key}", f"does {number}.{key}") for key in range(5))) for number in range(7)
]


@pytest.mark.parametrize(("width", "columns"), [(30, 1), (79, 1), (100, 2), (150, 3), (250, 5)])
def test_every_key_is_there_once_in_as_many_columns_as_fit(width, columns):
    lines = ["".join(cell.text for cell in line) for line in help_page(SECTIONS, width=width).lines]
    page = "\n".join(lines)
    assert all(len(line) <= width for line in lines)
    assert all(page.count(f"does {number}.{key}") == 1 for number in range(7) for key in range(5))
    assert max(line.count("part ") for line in lines) == columns


def test_what_a_key_does_is_told_in_full():
    lines = help_page([Section("one", (("r", "replace its instances, one after the other, as a roll-out"),))], width=48)
    told = " ".join("".join(cell.text for cell in line[2:]).strip() for line in lines.lines[2:])
    assert told == "replace its instances, one after the other, as a roll-out"
