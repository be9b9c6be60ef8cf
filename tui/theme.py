"""Colours: three themes, each a name for every meaning that `tui.view.paint.Style` has. Nothing else names a colour."""

from collections.abc import Mapping

from rich.style import Style as RichStyle
from textual.color import Color
from textual.theme import Theme

from tui.view.paint import Style

HUES = 8
INKS = (
    *("good", "busy", "bad", "dim", "bold", "head", "accent", "key", "stranger"),
    *(f"hue{number}" for number in range(HUES)),
)
"""The styles of texts that have a colour of their own, `ink-…` of a theme; and `bold`."""

# hues began as those of Okabe and Ito; tests/tui/test_theme.py holds that nobody confuses them, who sees no red either
DARK = Theme(
    name="dark",
    dark=True,
    primary="#5fafd7",
    secondary="#87afd7",
    accent="#5fafd7",
    foreground="#d0d4da",
    background="#101418",
    surface="#161b21",
    panel="#1f262e",
    success="#63c08f",
    warning="#e6a23c",
    error="#f2777a",
    variables={
        "ink-good": "#63c08f",
        "ink-busy": "#e6b450",
        "ink-bad": "#ff8080",
        "ink-dim": "#7d8794",
        "ink-head": "#98a5b5",
        "ink-accent": "#6cbbe8",
        "ink-key": "#e6b450",
        "ink-stranger": "#8a8f98",
        "ink-hue0": "#56b4e9",
        "ink-hue1": "#e69f00",
        "ink-hue2": "#2fbf93",
        "ink-hue3": "#f0e442",
        "ink-hue4": "#cc79a7",
        "ink-hue5": "#4a90d9",
        "ink-hue6": "#e8793a",
        "ink-hue7": "#b8c4d0",
        "cursor": "#26323f",
        "cursor-blurred": "#1b232c",
    },
)
LIGHT = Theme(
    name="light",
    dark=False,
    primary="#0b6aa2",
    secondary="#33699b",
    accent="#0b6aa2",
    foreground="#22272e",
    background="#fbfbf9",
    surface="#f3f3f0",
    panel="#e8e8e4",
    success="#1a7f4b",
    warning="#9a6700",
    error="#c62f36",
    variables={
        "ink-good": "#15703f",
        "ink-busy": "#855800",
        "ink-bad": "#b8262e",
        "ink-dim": "#666e78",
        "ink-head": "#57606a",
        "ink-accent": "#0b6aa2",
        "ink-key": "#8a5a00",
        "ink-stranger": "#727a84",
        "ink-hue0": "#0072b2",
        "ink-hue1": "#f9720c",
        "ink-hue2": "#009e73",
        "ink-hue3": "#8aa500",
        "ink-hue4": "#b0508a",
        "ink-hue5": "#2f9fd8",
        "ink-hue6": "#c75000",
        "ink-hue7": "#4d5761",
        "cursor": "#d8e6f2",
        "cursor-blurred": "#eaeef2",
    },
)
ANSI = Theme(
    name="ansi",
    ansi=True,
    primary="ansi_blue",
    secondary="ansi_cyan",
    accent="ansi_cyan",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    variables={
        "ink-good": "ansi_green",
        "ink-busy": "ansi_yellow",
        "ink-bad": "ansi_red",
        "ink-dim": "ansi_bright_black",
        "ink-head": "ansi_bright_black",
        "ink-accent": "ansi_cyan",
        "ink-key": "ansi_yellow",
        "ink-stranger": "ansi_bright_black",
        "ink-hue0": "ansi_cyan",
        "ink-hue1": "ansi_yellow",
        "ink-hue2": "ansi_green",
        "ink-hue3": "ansi_bright_yellow",
        "ink-hue4": "ansi_magenta",
        "ink-hue5": "ansi_blue",
        "ink-hue6": "ansi_bright_red",
        "ink-hue7": "ansi_white",
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
        "input-cursor-text-style": "reverse",
        "cursor": "ansi_bright_black",
        "cursor-blurred": "ansi_default",
    },
)
THEMES = (DARK, LIGHT, ANSI)


def look(style: Style, variables: Mapping[str, str]) -> RichStyle:
    """How a text is drawn, upon what it stands on. `variables`: of the theme.

    Not a component class of what draws it: Textual would work out the rules of each, for each widget, again and again.
    """
    if not style:
        return RichStyle()
    if style == "bold":
        return RichStyle(bold=True)
    sought = style in ("hit", "found")
    ink = Color.parse(variables["ink-key" if sought else f"ink-{style}"]).rich_color
    return RichStyle(color=ink, underline=style == "hit" or None, reverse=style == "found" or None)
