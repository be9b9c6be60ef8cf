"""What threads tell the screens."""

from dataclasses import dataclass

from textual.message import Message


class Woken(Message):
    """A daemon has said something."""


@dataclass
class Told(Message):
    """Something was asked of a daemon, and this is what it said."""

    text: str
    failed: bool = False
