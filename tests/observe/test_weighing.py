"""Headers of a fleet: what is known is told at once, what is not is being read, and nothing waits."""

import threading
import time
from pathlib import Path

import pytest

from reconciler.model.observation import Unknown
from reconciler.model.weights import Unreadable, Weights
from reconciler.observe.headers import Headers
from reconciler.observe.weighing import Weighed, Weighing, weigh
from tests.eventually import eventually
from tests.observe.test_headers import BODY


@pytest.fixture
def demo_gguf(tmp_path: Path) -> Path:
    """A model of which only the header is looked at."""
    path = tmp_path / "demo.gguf"
    path.write_bytes(BODY)
    return path


def test_what_is_wanted_is_read_beside_the_passes_and_then_known(demo_gguf: Path) -> None:
    """The first look says that it is being read; the answer keeps its identity from then on."""
    came = threading.Event()
    headers = Headers(clock=time.monotonic, on_change=came.set)
    weighing = Weighing(headers, time.monotonic)
    source = f"file:{demo_gguf}"
    weighing.want({source}, None)
    assert weighing() in (Weighed(reading=frozenset({source})), weighing())
    eventually(came.is_set, what="its header was read")
    weighing.changed()
    assert isinstance(weighing().weights[source], Weights)
    assert weighing().reading == frozenset()
    assert weighing() is weighing()


def test_what_is_no_longer_wanted_is_forgotten(demo_gguf: Path) -> None:
    """A fleet of yesterday costs nothing today."""
    weighing = Weighing(Headers(clock=time.monotonic), time.monotonic)
    weighing.want({f"file:{demo_gguf}"}, None)
    weighing()
    weighing.want(set(), None)
    assert weighing() == Weighed()


def test_a_command_waits_for_all_of_them(demo_gguf: Path, tmp_path: Path) -> None:
    """What is no model is told in words."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but no more")
    found = weigh({f"file:{demo_gguf}", f"file:{broken}"}, None, within=10.0)
    assert isinstance(found[f"file:{demo_gguf}"], Weights)
    assert isinstance(found[f"file:{broken}"], Unreadable | Unknown)
