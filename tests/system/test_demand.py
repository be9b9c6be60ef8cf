"""What a gateway is told by a real daemon, and what comes of what it tells. Ports 32700–32759."""

import http.client
import json
import socket
import sys
import threading

import msgspec
import pytest

from reconciler.booted import for_gateways
from reconciler.model.routing import LAPSE, Place, Report, Table, Traffic, Wanted
from tests.eventually import eventually
from tests.system.box import SERVER

pytestmark = pytest.mark.system


class Connection(http.client.HTTPConnection):
    """To the socket of a daemon."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class Gateway:
    """Reads tables in a thread of its own, and tells what it is told to, as often as it is told to."""

    def __init__(self, box) -> None:
        self.box = box
        self.tables: list[Table] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        connection = Connection(for_gateways(self.box.client.path))
        connection.request("GET", "/v1/table/stream")
        answer = connection.getresponse()
        while line := answer.readline():
            self.tables.append(msgspec.json.decode(line, type=Table))

    def model(self, name: str):
        """What the newest table says of it."""
        return self.tables[-1].models.get(name) if self.tables else None

    def places(self, name: str) -> tuple[Place, ...]:
        """Where it may be sent requests, by the newest table."""
        found = self.model(name)
        return found.places if found is not None and found.outlook == "ready" else ()

    def tell(self, **models: Wanted) -> int:
        """One report."""
        newest = self.tables[-1] if self.tables else Table()
        report = Report(gateway="test", seen=newest.seq, epoch=newest.epoch, models=models)
        connection = Connection(for_gateways(self.box.client.path))
        connection.request("POST", "/v1/demand", msgspec.json.encode(report), {"Content-Type": "application/json"})
        return connection.getresponse().status


def engine(box) -> None:
    command = [sys.executable, "-I", "-S", SERVER, "{port}"]
    box.write("server.py", "print()")  # weights must be there, and are not looked into
    box.write("mine.yaml", json.dumps({"kind": "Engine", "name": "mine", "command": command, "cpu": True}))


def model(box, **more) -> None:
    said = {"kind": "Model", "name": "chat", "source": "file:server.py", "engine": "mine", "gpus": 0}
    box.write("chat.yaml", json.dumps(said | more))


def test_a_model_that_somebody_waits_for_is_started_and_its_place_is_told(box):
    box.ports(32700)
    engine(box)
    model(box, aliases=["gpt"], replicas={"min": 0, "idle": "1s"})
    box.daemon()
    gateway = Gateway(box)
    first = eventually(lambda: gateway.model("chat"))
    assert first is not None
    assert (first.outlook, first.names) == ("absent", ("chat", "gpt"))
    assert not box.status().gateway.connected

    assert gateway.tell(chat=Wanted(waiting=1)) == 200
    place = eventually(lambda: gateway.places("chat"))[0]
    assert (place.slot, place.run, place.names) == ("chat/0", 1, ("chat", "gpt"))
    assert place.address.startswith("http://127.0.0.1:327")
    assert {table.models["chat"].outlook for table in gateway.tables} == {"absent", "coming", "ready"}
    assert box.status().gateway.connected
    box.told("the gateway is connected", subject="gateway")

    used = Wanted(in_flight={"chat/0": 1}, traffic=Traffic(requests=2.0, first_byte=0.25, total=9))
    gateway.tell(chat=used)
    assert box.status().traffic == {"chat": used}

    def ended():
        gateway.tell()
        return box.replica("chat/0") is None

    eventually(ended, what="nobody asks for it any more")
    assert any(place.draining for table in gateway.tables for place in table.models["chat"].places)
    box.told("the gateway is gone", subject="gateway", within=LAPSE + 30)
    assert not box.status().gateway.connected


def test_a_new_daemon_tells_no_gateway_that_what_runs_is_gone(box):
    box.ports(32730)
    engine(box)
    model(box)
    box.daemon()
    gateway = Gateway(box)
    before = eventually(lambda: gateway.places("chat"))
    box.kill()
    box.daemon()
    again = Gateway(box)
    eventually(lambda: again.tables)
    assert again.tables[0].models["chat"].places == before
    assert again.tables[0].epoch != gateway.tables[0].epoch
