"""Another version takes over and gives back while engines serve (fault 13), and a machine sleeps (fault 10)."""

import os
import re
import shutil
import signal
import socket
import threading

import pytest

from tests.eventually import eventually
from tests.system.box import ROOT, last_words

pytestmark = pytest.mark.system


@pytest.fixture
def later(box):
    """A later version of the package: all that is written down has a field more, the history another schema."""
    package = box.place / "later" / "reconciler"
    shutil.copytree(ROOT / "reconciler", package, ignore=shutil.ignore_patterns("__pycache__"))

    def edit(name: str, was: str, becomes: str) -> None:
        text = (package / name).read_text()
        assert len(re.findall(was, text)) == 1, f"{name} has changed: {was}"
        (package / name).write_text(re.sub(was, becomes, text))

    edit("__init__.py", '"[0-9.]+"', '"99.0.0"')
    edit("act/keeper.py", r"\nVERSION = 1\n", "\nVERSION = 2\n")
    edit("act/record.py", r"\n    launch: Launch\n", '\n    launch: Launch\n    added: str = "later"\n')
    edit("act/runfile.py", r'\n        "asked",\n', '\n        "added",\n        "asked",\n')
    edit("act/runfile.py", r"\n        self\.run = 0\n", '\n        self.added = "later"\n        self.run = 0\n')
    edit("desk.py", r"\n    consents: tuple", '\n    added: str = "later"\n    consents: tuple')
    edit(
        "store/events.py",
        r' TEXT NOT NULL\) STRICT""",\n',
        ' TEXT NOT NULL) STRICT""",\n    "CREATE TABLE more (a)",\n',
    )
    return package.parent


class Client:
    """Connects to a port again and again, from a thread of its own."""

    def __init__(self, port: int) -> None:
        self.answered = 0
        self.refused: list[OSError] = []
        self._port = port
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._done.wait(0.005):
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
                    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    self.answered += connection.recv(12).endswith(b" 200")
            except OSError as error:
                self.refused.append(error)


def test_another_version_and_back_while_it_serves(box, later):
    """Fault 13: up and down again, after an end and after a kill; what was ordered stays ordered."""
    box.ports(31140)
    box.server("web", health={"path": "/"})
    box.service("idle", replicas=2)
    box.daemon()
    box.converged("web", "idle")
    box.client.scale("idle", 1)
    eventually(lambda: "idle/1" not in box.pids(), what="one is left")
    before = box.pids()
    names = ["web", "idle"]
    turns = (
        ("99.0.0", signal.SIGTERM),
        ("0.1.0", signal.SIGKILL),
        ("99.0.0", signal.SIGKILL),
        ("0.1.0", signal.SIGTERM),
    )
    with Client(box.replica("web/0").port) as client:
        for turn, (version, how) in enumerate(turns):
            box.process.send_signal(how)
            box.process.wait(10)
            box.env = {"PYTHONPATH": str(later), "PYTHONSAFEPATH": "1"} if version == "99.0.0" else {}
            box.daemon()
            assert box.client.info().version == version
            box.converged(*names)
            assert box.pids() == before
            # it does more than look: a new keeper, and an order
            names.append(f"new-{turn}")
            box.service(names[-1])
            box.converged(*names)
            box.client.restart(names[-1], None)
            eventually(lambda: box.replica(f"{names[-1]}/0").run == 2, what="it is restarted")
            box.converged(*names)
            before = box.pids()
        told = client.answered
        eventually(lambda: client.answered > told + 5, what="it goes on answering")
    assert client.refused == []
    assert all(row.replicas[0].restarts == 0 for row in box.status().workloads.values())
    assert box.status().workloads["idle"].wanted == 1
    assert "Traceback" not in last_words(box)


def test_a_machine_that_sleeps_restarts_nothing(box):
    """Fault 10: everything stands still for longer than any deadline of a probe, and goes on."""
    box.ports(31160)
    health = {"path": "/", "interval": "100ms", "timeout": "200ms", "failures": 1}
    for name in ("one", "two", "three"):
        box.server(name, health=health)
    daemon = box.daemon()
    box.converged("one", "two", "three")
    before, seen = box.pids(), len(box.events())
    everyone = [daemon.pid, *(pid for pid, _ in box.ours())]
    for _ in range(3):
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        threading.Event().wait(1.5)  # the sleep itself
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)
        box.converged("one", "two", "three")
    assert box.pids() == before
    assert not [event for event in box.events()[seen:] if "stopping" in event.message or "starting" in event.message]
