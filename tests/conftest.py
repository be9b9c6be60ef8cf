"""What every test starts from."""

import asyncio
import gc
import inspect
import signal

import pytest
from hypothesis import settings

from tests.dockerd import Dockerd

# started in the background by a shell, we would ignore SIGINT, and so would every program under test
signal.signal(signal.SIGINT, signal.default_int_handler)

# how long an example takes says something of the machine, nothing of the program
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_finish():
    """What thousands of tests are made of stays to the end: nobody needs to look through it for what can be freed."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """A test may be a coroutine: it is run to its end, but not for ever."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters}
    asyncio.run(asyncio.wait_for(test(**given), 280))
    return True


@pytest.fixture(scope="session")
def engines():
    """Container engines for the whole session. Nothing is skipped where there are none: Debian has both."""
    made = {}

    def engine(kind):
        if kind not in made:
            made[kind] = kind()
        return made[kind]

    yield engine
    for each in made.values():
        each.close()


@pytest.fixture
def dockerd(engines, monkeypatch, request):
    """A Docker engine, empty, and the one that DOCKER_HOST names; `parametrize` it indirectly for another kind."""
    engine = engines(getattr(request, "param", Dockerd))
    engine.clear()
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    yield engine
    left = [name for name in engine.clear() if name.startswith("/holdfast-")]
    assert not left, f"left behind: {left}"
