"""Colours can be read, and told apart by those who see fewer of them."""

import itertools

import pytest

from tui.theme import ANSI, DARK, HUES, INKS, LIGHT, THEMES

# what people see who lack one kind of cones: Machado, Oliveira, Fernandes 2009, at full severity, of linear light
SEEN = {
    "all": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
}


def light(colour: str) -> tuple[float, ...]:
    """The amounts of red, green and blue light, 0 to 1."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def contrast(one: str, other: str) -> float:
    """As WCAG has it, 1 to 21."""
    first, second = (0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (light(one), light(other)))
    return (max(first, second) + 0.05) / (min(first, second) + 0.05)


def place(colour: str, seen: str) -> tuple[float, float, float]:
    """Where it is in CIELAB, for who sees so."""
    r, g, b = (
        min(1.0, max(0.0, sum(part * amount for part, amount in zip(row, light(colour), strict=True))))
        for row in SEEN[seen]
    )
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    fx, fy, fz = (each ** (1 / 3) if each > 0.008856 else 7.787 * each + 16 / 116 for each in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def apart(one: str, other: str, seen: str) -> float:
    """How different they look; 2 is noticed, 10 at a glance."""
    return sum((a - b) ** 2 for a, b in zip(place(one, seen), place(other, seen), strict=True)) ** 0.5


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_every_meaning_has_a_colour(theme):
    assert {f"ink-{ink}" for ink in INKS if ink != "bold"} | {"cursor", "cursor-blurred"} <= set(theme.variables)


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
@pytest.mark.parametrize("ink", [ink for ink in INKS if ink != "bold" and not ink.startswith("hue")])
def test_what_is_to_be_read_can_be(theme, ink):
    colour = theme.variables[f"ink-{ink}"]
    grounds = [theme.background, theme.surface, theme.panel, theme.variables["cursor"]]
    least = 3.0 if ink in ("stranger", "dim") else 4.5
    assert contrast(colour, theme.background) >= 4.0
    assert min(contrast(colour, ground) for ground in grounds) >= least


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
def test_bars_stand_out_from_the_ground(theme):
    for hue in range(HUES):
        assert contrast(theme.variables[f"ink-hue{hue}"], theme.background) >= 2.5, hue


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
@pytest.mark.parametrize("seen", SEEN)
def test_models_are_told_apart_by_everybody(theme, seen):
    hues = [theme.variables[f"ink-hue{hue}"] for hue in range(HUES)]
    near = {(a, b): apart(hues[a], hues[b], seen) for a, b in itertools.combinations(range(HUES), 2)}
    assert min(near.values()) >= 8, {pair: round(how) for pair, how in near.items() if how < 8}
    neighbours = {pair: round(how) for pair, how in near.items() if pair[1] - pair[0] == 1 and how < 18}
    assert not neighbours


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
@pytest.mark.parametrize("seen", SEEN)
def test_good_and_bad_are_told_apart_by_everybody(theme, seen):
    good, busy, bad = (theme.variables[f"ink-{ink}"] for ink in ("good", "busy", "bad"))
    assert apart(good, bad, seen) >= 12
    assert apart(busy, bad, seen) >= 8


def test_a_terminals_own_colours_are_asked_for_by_name():
    assert all(
        colour.startswith("ansi_") for name, colour in ANSI.variables.items() if name.startswith(("ink", "cursor"))
    )
