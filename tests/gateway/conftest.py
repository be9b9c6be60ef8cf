"""What the tests of a file have opened is closed before the next."""

import gc
from collections.abc import Generator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _closed() -> Generator[None, None, None]:  # pyright: ignore[reportUnusedFunction]
    """Boards are descriptors, and parts of a gateway know each other."""
    yield
    gc.collect()
