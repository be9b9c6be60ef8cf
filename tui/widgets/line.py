"""A line to type in."""

from textual.geometry import Size
from textual.reactive import reactive
from textual.widgets import Input


class Line(Input):
    """Its cursor stands still, and no letter moves what is beside it: nothing is drawn that did not change."""

    cursor_blink = reactive(False, init=False)
    virtual_size = reactive(Size(0, 0))
