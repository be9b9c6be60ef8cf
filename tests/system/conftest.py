import pytest

from tests.system.box import Box

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Remember whether a test failed, for its box."""
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture
def box(tmp_path, request):
    """A place for one daemon; afterwards nothing of it runs, and what it wrote is kept if the test failed."""
    box = Box(tmp_path)
    yield box
    if request.node.stash.get(_FAILED, False):
        box.keep(request.node.name)
    left = box.clear()
    assert not left, f"left behind: {left}"
