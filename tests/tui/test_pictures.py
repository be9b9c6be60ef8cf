"""The pictures in the documents: all that are shown are there and the other way round, small, and of nowhere else."""

import asyncio
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.tui import pictures

ROOT = pictures.ROOT
NAMES = {f"{picture.name}.svg" for picture in pictures.PICTURES}
SHOWN = re.compile(r'(?:src|srcset)="(?:docs/)?pictures/([^"]+)"')
PAGES = (ROOT / "README.md", pictures.PAGE)


def test_each_is_there_and_shown_and_nothing_else_is():
    assert {path.name for path in pictures.PLACE.iterdir()} == NAMES, "run `make pictures`"
    assert {name for page in PAGES for name in SHOWN.findall(page.read_text())} == NAMES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_who_cannot_see_them_reads_what_they_show(page: Path):
    images = re.findall(r"<img [^>]*>", page.read_text())
    assert images
    for image in images:
        assert re.search(r'alt="[^"]{20,}"', image), image


@pytest.mark.parametrize("name", sorted(NAMES))
def test_it_is_small_and_fetches_nothing(name: str):
    text = (pictures.PLACE / name).read_text()
    assert len(text) < 100_000
    assert not re.findall(r"@import|@font-face|<script|<image|href=|url\(", text)
    ET.fromstring(text)


def test_made_twice_they_are_the_same():
    first, again = (asyncio.run(pictures.made(pictures.PICTURES[0])) for _ in range(2))
    assert first == again
    assert "OutOfMemoryError" in first.replace("\u00a0", " ")


async def test_the_page_has_the_keys_that_the_dashboard_has():
    found = pictures.KEYS.search(pictures.PAGE.read_text())
    assert found is not None
    assert found[0] == pictures.table(await pictures.keys()), "run `make pictures`"
