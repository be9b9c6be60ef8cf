import pytest

from tests.act.stage import Stage


@pytest.fixture
def stage(tmp_path):
    """A state directory, and nothing left running afterwards."""
    stage = Stage(tmp_path / "state")
    yield stage
    stage.clear()
