"""Nothing that an engine or a model writes makes a terminal do anything."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tui.view.clean import Cleaner, clean, line

FORBIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
SEEN = set(map(chr, (*range(0x600, 0x606), 0x6DD, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD)))
"""Signs with a shape, though Unicode calls them formats: the number sign of Arabic and the like."""
ALLOWED = {"\n", "\t", "\u200c", "\u200d", *SEEN}  # joiners: scripts and emoji need them, and they hide nothing

CASES = {
    "colours": ("\x1b[1;31mred\x1b[0m", "red"),
    "the title of the window": ("\x1b]0;rm -rf\x07ok", "ok"),
    "the title, ended otherwise": ("\x1b]2;x\x1b\\ok", "ok"),
    "the clipboard": ("\x1b]52;c;ZXZpbA==\x07ok", "ok"),
    "a hyperlink keeps its text": ("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click"),
    "a device's answer": ("\x1bP+q544e\x1b\\ok", "ok"),
    "moving up and wiping": ("good\n\x1b[1A\x1b[2Kbad", "good\nbad"),
    "another character set": ("\x1b(0qqq", "qqq"),
    "reset": ("\x1bcok", "ok"),
    "one byte controls": ("\x9b31mred\x9b0m", "red"),
    "backspaces": ("safe\b\b\b\bevil", "safeevil"),
    "a bell": ("a\x07b", "ab"),
    "an overprint shows what was beneath": ("password wrong\rall good", "password wrong\nall good"),
    "a DOS line's end": ("a\r\nb", "a\nb"),
    "a progress bar": ("1%\r2%\r\n", "1%\n2%\n"),
    "reversed text": ("user\u202etxt.exe", "usertxt.exe"),
    "isolates": ("\u2066a\u2069", "a"),
    "letters that nobody sees": ("a\U000e0041b\u200bc", "abc"),
    "half a character": ("a\ud83db", "a\ufffdb"),
    "what is innocent": ("tab\there, ümläut, 日本語, 👩\u200d🚀", "tab\there, ümläut, 日本語, 👩\u200d🚀"),
}


@pytest.mark.parametrize(("given_text", "shown"), CASES.values(), ids=CASES)
def test_a_terminal_is_shown_text_and_nothing_else(given_text, shown):
    assert clean(given_text) == shown


def harmless(text: str) -> bool:
    return all(letter in ALLOWED or unicodedata.category(letter) not in FORBIDDEN for letter in text)


HOSTILE = st.text(
    st.one_of(st.sampled_from("\x1b[]()P^_X\\\x07\x08\r\n;?0123mAJKHc\x9b\x9d\x9c\u202e\u2028\ud800"), st.characters())
)


@given(HOSTILE)
@example("\x1b\x1b[[31m")
@example("\x1b\x9b]0;")
def test_no_text_at_all_keeps_a_control(text):
    assert harmless(clean(text))
    assert clean(clean(text)) == clean(text)
    assert "\n" not in line(text)


@given(st.lists(st.binary(max_size=40)))
@example(["\u0600\U0001d173".encode()])
@example([b"\x1b", b"[31m\n"])
@example([b"\x1b]0;evil", b"\x07\n"])
@example([b"\xf0\x9f", b"\x98\x80\n"])
@example([b"a\r", b"\nb\n"])
def test_pieces_of_a_stream_are_shown_as_the_whole_would_be(pieces):
    cleaner = Cleaner()
    shown = "".join([*(cleaner.feed(piece) for piece in pieces), cleaner.end()])
    assert harmless(shown)
    assert shown == clean(b"".join(pieces).decode("utf-8", "replace"))


def test_a_line_that_never_ends_does_not_fill_the_memory():
    cleaner = Cleaner()
    shown = sum(len(cleaner.feed(b"x" * 5000)) for _ in range(100))
    assert shown > 480_000
    assert len(cleaner.end()) < 20_000
