"""What was typed → what is meant."""

import pytest

from tui.view.palette import MOST, Name, meant, palette

NAMES = [
    Name(text="restart chat", about="replace its instances", key="r"),
    Name(text="stop chat", about="stop it until it is resumed", key="s"),
    Name(text="open embed-chat", about="what it is"),
    Name(text="restart embed", about="replace its instances"),
    Name(text="go to Chat", about=""),
    Name(text="chats", about=""),
]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("", ["restart chat", "stop chat", "open embed-chat", "restart embed", "go to Chat", "chats"]),
        ("chat", ["restart chat", "stop chat", "go to Chat", "chats", "open embed-chat"]),
        ("chat res", ["restart chat", "stop chat"]),
        ("RESTART  em", ["restart embed"]),
        ("replace", ["restart chat", "restart embed"]),
        ("place", []),
        ("nothing", []),
    ],
)
def test_every_word_counts_and_whole_words_before_parts(typed, found):
    assert [NAMES[number].text for number in meant(typed, NAMES)] == found


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_command_is_a_line_with_its_key_at_the_right(width):
    lines = palette(NAMES, [0, 2], width=width).lines
    texts = ["".join(cell.text for cell in line) for line in lines]
    assert all(len(text) <= width for text in texts)
    assert texts[0].startswith(" restart")
    assert width < 40 or texts[0].endswith(" r ")


def test_many_are_counted_instead_of_shown():
    names = [Name(text=f"open {number}", about="") for number in range(MOST + 7)]
    picture = palette(names, range(len(names)), width=60)
    assert len(picture.lines) == MOST + 1
    assert "7 more" in picture.lines[-1][0].text
    assert picture.keys[-1] == ""


def test_nothing_found_is_said():
    assert palette(NAMES, [], width=60).lines[0][0].text.strip() == "nothing is called so"
