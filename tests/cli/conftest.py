"""A command line, run in this process against a daemon without a fleet."""

import os
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import pytest

from reconciler.cli import main
from reconciler.model.status import GatewayStatus
from tests.api.daemon import Recorder, Soon, served, status, workload
from tests.cli.front import Front, running


class Done(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def socket(tmp_path) -> str:
    return str(tmp_path / "run" / "holdfast.sock")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def soon(recorder, socket) -> Generator[Soon, None, None]:
    """The daemon, running; calls something in its thread."""
    with served(recorder, socket) as call:
        yield call


@pytest.fixture
def run(socket, tmp_path, capsys) -> Run:
    """Types a command, against that daemon."""

    def type_it(*words: str) -> Done:
        typed: Sequence[str] = (*words, "--socket", socket, "--state", str(tmp_path / "state"))
        try:
            status = main(typed)
        except SystemExit as error:
            status = int(str(error.code))
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return type_it


@pytest.fixture
def environment() -> dict[str, str]:
    """For a command in a process of its own: this checkout, and nobody's own places."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HOLDFAST_", "XDG_"))}
    return kept | {"PYTHONPATH": here, "NO_COLOR": "1"}


@pytest.fixture
def front(recorder) -> Generator[Front, None, None]:
    """A gateway, and a daemon that knows where it is."""
    with running() as made:
        recorder.now = status(workload("chat"), gateway=GatewayStatus(listen=(made.url,), connected=True))
        yield made
