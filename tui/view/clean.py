"""Makes text of engines, models and strangers' processes safe to show: a terminal would obey what is written in it."""

import codecs
import re

_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, the cursor, modes
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # strings: titles, the clipboard
    r"|\x1b[ -/]*[0-~]?"
)
GONE = {
    *range(0x20),  # C0
    *range(0x7F, 0xA0),  # DEL, C1
    0xAD,  # soft hyphen
    0x61C,
    0x180E,
    0x200B,
    0x200E,
    0x200F,  # marks of direction, and of nothing at all
    *range(0x2028, 0x202F),  # separators of lines; embedding and override of direction
    *range(0x2060, 0x2070),  # isolation of direction, invisible operators
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
    0x70F,
    *range(0x13430, 0x13440),
    *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B),  # how old scripts, shorthand and music are set
    *range(0xE0000, 0xE0080),  # tags: letters that nobody sees
} - {0x09, 0x0A}
"""Letters that are left out, by their numbers."""
_TABLE: dict[int, str | None] = {**dict.fromkeys(GONE), **dict.fromkeys(range(0xD800, 0xE000), "\ufffd")}
_LONGEST = 16384
"""Characters of a line that are waited for; a longer one is shown in pieces."""


def clean(text: str) -> str:
    """The text without anything that a terminal would act on, but newlines and tabs.

    A return alone becomes a newline: what it would have overwritten is shown too.
    """
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _SEQUENCE.sub("", text).translate(_TABLE)


def line(text: str) -> str:
    """The same in one line, without tabs."""
    return " ".join(clean(text).split())


class Cleaner:
    """Cleans a stream of bytes, by whole lines, so that no sequence escapes between two pieces."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, raw: bytes) -> str:
        """What can be shown by now."""
        text = self._rest + self._decoder.decode(raw)
        cut = max(text.rfind("\n"), text.rfind("\r", 0, -1)) + 1  # a return at the very end may be half of a line's end
        if len(text) - cut > _LONGEST:
            cut = len(text)
        self._rest = text[cut:]
        return clean(text[:cut])

    def end(self) -> str:
        """What was left without a newline."""
        text, self._rest = self._rest + self._decoder.decode(b"", final=True), ""
        return clean(text)
