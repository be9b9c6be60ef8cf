"""Units where something is in the way: nothing is asked twice, nothing is given up for good, nothing secret is left."""

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.act.units import broker, journal, manager, unit
from reconciler.act.units.door import Broker, Straight, Units
from reconciler.act.units.manager import Manager
from reconciler.act.units.runtime import UnitRuntime
from reconciler.model.container import Unit
from tests.act.stage import launch
from tests.act.test_units import GOOD
from tests.eventually import eventually, eventually_async


class Door:
    """A manager whose one unit has ended, and left something that does not."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.unit: dict[str, str] = {}
        self.starts: dict[str, str] = {}
        """How it is once it was started, where that is otherwise."""
        self.cleared = asyncio.Event()

    async def ask(self, op: str, *, within: float = 10.0, **fields: Any) -> Units:
        self.orders.append(op)
        if op == "start":
            self.unit = {
                "Id": unit.name(fields["slot"]), "LoadState": "loaded", "ActiveState": "active", "SubState": "exited",
                "Result": "success", "MainPID": "0", "ExecMainCode": "1", "ExecMainStatus": "0",
                "ExecMainStartTimestampMonotonic": "1000000", "ExecMainExitTimestampMonotonic": "2000000",
                unit.SLOT: fields["slot"], unit.TOKEN: fields["token"],
            } | self.starts  # fmt: skip
        if op == "clear":
            await self.cleared.wait()
        return [self.unit]

    def journal(self, **begin: Any) -> socket.socket:
        raise OSError("no journal here")


def test_what_takes_long_to_clear_away_is_ordered_once_however_often_it_is_looked_at(tmp_path) -> None:
    """Each order holds a place at the broker, which has not many."""

    async def scene() -> None:
        door = Door()
        (tmp_path / "units").mkdir()
        runtime = UnitRuntime(str(tmp_path), on_change=lambda _: None, door=door)
        await runtime.start(replace(launch(argv=["/bin/true"]), unit=Unit(grace=10.0)), {})
        for _ in range(20):
            await runtime.look()
            await asyncio.sleep(0)
        assert door.orders.count("clear") == 1
        door.cleared.set()
        await runtime.close()

    asyncio.run(scene())


def test_a_journal_that_could_not_be_followed_is_followed_once_it_can(tmp_path, monkeypatch) -> None:
    """Where its place was not to be written for a moment, all logs were lost until the daemon was another."""
    monkeypatch.setattr(journal, "_AGAIN", 0.01)
    ours, theirs = socket.socketpair()
    asked: list[dict[str, Any]] = []

    def follow(**begin: Any) -> socket.socket:
        asked.append(begin)
        theirs.sendall(b"MESSAGE=well\n_SYSTEMD_UNIT=holdfast-chat-0.service\nHOLDFAST_TOKEN=t\n__CURSOR=c\n\n")
        return ours

    place = tmp_path / "units"
    place.write_text("a file is in the way")
    one = journal.Journal(follow, str(place / "journal"))
    one.expect("t", "chat/0", str(tmp_path / "logs"), 1)
    place.unlink()
    place.mkdir()
    log = tmp_path / "logs" / "1.0.log"
    # behind a word that it cannot be read, where it was tried twice before
    eventually(lambda: log.exists() and log.read_text().splitlines()[-1:] == ["well"], what="it is read")
    one.close()
    theirs.close()
    assert len(asked) == 1


def entry(said: str) -> bytes:
    """A line of chat/0 as the journal tells it, its cursor the line itself."""
    return f"__CURSOR={said}\nMESSAGE={said}\n_SYSTEMD_UNIT=holdfast-chat-0.service\nHOLDFAST_TOKEN=t\n\n".encode()


def test_what_a_unit_said_that_failed_while_no_daemon_was_there_is_in_its_log(tmp_path) -> None:
    class Fails(Door):
        """Its journal tells of the end, to whoever asks."""

        def journal(self, **begin: Any) -> socket.socket:
            if self.unit.get("SubState") != "failed":
                raise OSError("nothing was said yet")
            ours, theirs = socket.socketpair()
            with theirs:
                theirs.sendall(entry("it was this").replace(b"=t\n", f"={self.unit[unit.TOKEN]}\n".encode()))
            return ours

    async def scene() -> None:
        door = Fails()
        (tmp_path / "logs").mkdir()
        (tmp_path / "units").mkdir()
        with subprocess.Popen(["sleep", "1000"]) as process:
            before = UnitRuntime(str(tmp_path), on_change=lambda _: None, door=door)
            door.starts = {"SubState": "running", "MainPID": str(process.pid)}
            await before.start(replace(launch(argv=["/bin/sleep"]), unit=Unit(grace=10.0)), {})
            await before.close()
            process.kill()
        door.unit |= {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "MainPID": "0"}
        door.unit |= {"ExecMainStatus": "3"}
        after = UnitRuntime(str(tmp_path), on_change=lambda _: None, door=door)
        await after.open()
        log = tmp_path / "logs" / "chat.0" / "1.0.log"
        await eventually_async(lambda: log.exists() and "it was this" in log.read_text(), what="its log is read")
        await after.close()

    asyncio.run(scene())


@pytest.fixture(params=["straight", "broker"])
def door(request, tmp_path, monkeypatch) -> Generator[Straight | Broker]:
    """Both ways to a manager that finds its programs in `bin`."""
    monkeypatch.setattr(journal, "_AGAIN", 0.01)
    monkeypatch.setitem(manager._ENV, "PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    if request.param == "straight":
        yield Straight("/s", "/w")
        return
    monkeypatch.setattr(broker, "IDLE", 0.01)
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        serving = broker.Broker(Manager("/s", "/w"), os.getuid())

        def serve() -> None:
            while not over.is_set():
                serving.serve(server)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Broker(str(tmp_path / "s"))
        over.set()
        thread.join()


def journalctl(place: Path, text: str, mode: int = 0o755) -> None:
    """From now on that is what runs under this name."""
    (place / "new").write_text(f"#!/bin/sh\n{text}\n")
    (place / "new").chmod(mode)
    os.replace(place / "new", place / "journalctl")


@pytest.mark.parametrize(
    ("does", "told"),
    [
        (None, "cannot run journalctl: no such file or directory"),
        (("", 0o644), "cannot run journalctl: permission denied"),
        (("echo 'No journal files were opened.' >&2; exit 1", 0o755), "journalctl: No journal files were opened."),
        (("exit 4", 0o755), "journalctl: it ended with status 4"),
    ],
    ids=["missing", "not-executable", "refused", "ended"],
)
def test_why_no_journal_can_be_read_stands_in_the_log_once(tmp_path, door, does, told) -> None:
    place, log, threads = tmp_path / "bin", tmp_path / "logs" / "1.0.log", threading.active_count()
    if does is not None:
        journalctl(place, *does)
    tries: list[dict[str, Any]] = []

    def follow(**begin: Any) -> socket.socket:
        tries.append(begin)
        return door.journal(**begin)

    one = journal.Journal(follow, str(tmp_path / "journal"))
    one.expect("t", "chat/0", str(tmp_path / "logs"), 1)
    eventually(lambda: len(tries) > 4, what="it is tried again and again")
    assert log.read_text() == f"[holdfast: what it says cannot be read: {told}]\n"
    (tmp_path / "entry").write_bytes(entry("well"))
    journalctl(place, f"/bin/cat {tmp_path}/entry; exec /bin/sleep 1000")
    eventually(lambda: log.read_text().endswith("]\nwell\n"), what="it is read once it can be")
    one.close()
    eventually(lambda: threading.active_count() <= threads, what="nobody is left behind")


def test_what_cannot_be_taken_is_passed_by_and_nothing_before_it_is_taken_twice(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(journal, "_AGAIN", 0.01)
    said = ["one", "two", "three"]
    take = journal.LogFile.feed

    def feed(log: journal.LogFile, data: bytearray, size: int) -> None:
        if bytes(data) == b"two\n":
            raise ValueError("no such line")
        take(log, data, size)

    monkeypatch.setattr(journal.LogFile, "feed", feed)
    peers: list[socket.socket] = []

    def follow(cursor: str = "", **_: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        peers.append(theirs)
        theirs.sendall(b"".join(map(entry, said[said.index(cursor) + 1 if cursor else 0 :])))
        return ours

    one = journal.Journal(follow, str(tmp_path / "journal"))
    one.expect("t", "chat/0", str(tmp_path / "logs"), 1)
    log = tmp_path / "logs" / "1.0.log"
    eventually(lambda: log.exists() and "three" in log.read_text(), what="it goes on behind what cannot be taken")
    one.close()
    for peer in peers:
        peer.close()
    assert log.read_text() == "one\nthree\n"


def test_a_log_is_not_closed_while_a_line_is_written_to_it(tmp_path, monkeypatch) -> None:
    """Its descriptor would be that of whatever is opened next."""
    begun, goes_on, done = threading.Event(), threading.Event(), list[str]()
    monkeypatch.setattr(journal.LogFile, "close", lambda _: done.append("closed"))

    def feed(log: journal.LogFile, data: bytearray, size: int) -> None:
        begun.set()
        goes_on.wait(60)
        done.append("written")

    monkeypatch.setattr(journal.LogFile, "feed", feed)
    ours, theirs = socket.socketpair()
    one = journal.Journal(lambda **_: ours, str(tmp_path / "journal"))
    one.expect("t", "chat/0", str(tmp_path / "logs"), 1)
    theirs.sendall(entry("one"))
    assert begun.wait(60)
    dropping = threading.Thread(target=one.drop, args=("t",))
    dropping.start()
    dropping.join(0.2)
    goes_on.set()
    dropping.join()
    one.close()
    theirs.close()
    assert done == ["written", "closed"]


def test_no_environment_is_left_where_it_cannot_be_written_whole(tmp_path, monkeypatch) -> None:
    """Secrets stand in it."""
    monkeypatch.setattr(manager, "ORDERS", str(tmp_path / "orders"))
    monkeypatch.setattr(Manager, "_look", lambda self, name: None)
    monkeypatch.setattr(unit, "environment", lambda order: "KEY=secret\n" * 10_000 + "\udcff")
    with pytest.raises(UnicodeEncodeError):
        Manager("/s", "/w").do({"op": "start", **GOOD})
    assert os.listdir(tmp_path / "orders") == []
