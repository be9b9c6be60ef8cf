import subprocess
import sys

import pytest

from tests.system.box import ROOT, Box
from tests.system.machine import Dockerd

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Remember whether a test failed, for its box."""
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture
def box(tmp_path, request, monkeypatch):
    """A place for one daemon; afterwards nothing of it runs, and what it wrote is kept if the test failed."""
    docker = request.getfixturevalue("dockerd") if "dockerd" in request.fixturenames else None
    box = Box(tmp_path)
    yield box
    if request.node.stash.get(_FAILED, False):
        box.keep(request.node.name)
    if docker is not None:
        monkeypatch.setenv("DOCKER_HOST", docker.host)
    left = box.clear()
    assert not left, f"left behind: {left}"


@pytest.fixture(scope="session")
def gguf(tmp_path_factory):
    """The demo model, made here."""
    path = tmp_path_factory.mktemp("model") / "demo.gguf"
    subprocess.run([sys.executable, "fleet.d/demo_model.py", str(path)], cwd=ROOT, check=True)
    return path


@pytest.fixture(scope="session")
def machines():
    """Where machines are booted."""
    docker = Dockerd()
    yield docker
    docker.close()
