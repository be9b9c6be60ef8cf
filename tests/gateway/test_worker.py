"""A worker as a process of its own, told by a channel as its master would."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from reconciler.gateway.board import Board
from reconciler.gateway.channel import Channel, Kind, pair
from reconciler.gateway.listening import Listen
from reconciler.gateway.rows import rows
from reconciler.model.routing import Front, Place, Served, Site, Table, Wanted
from tests.eventually import eventually_async
from tests.gateway.certificates import client, make
from tests.gateway.client import Raw, chat, request
from tests.gateway.on_loop import on_loop
from tests.gateway.upstream import Upstream


class Told:
    """What the worker has said."""

    def __init__(self) -> None:
        self.frames: list[tuple[Kind, bytes]] = []

    def heard(self, kind: Kind, payload: bytes, descriptors: list[int]) -> None:
        assert not descriptors
        self.frames.append((kind, payload))

    def of(self, kind: Kind) -> list[bytes]:
        return [payload for each, payload in self.frames if each is kind]


@asynccontextmanager
async def begun(directory: Path) -> AsyncGenerator[tuple[subprocess.Popen[bytes], Channel, Told]]:
    """One that has its BEGIN, until the block ends."""
    ours, its = pair()
    argv = [sys.executable, "-P", "-m", "reconciler.gateway.worker", "info", str(directory)]
    with its, open(directory / "log", "wb") as log:
        process = subprocess.Popen(argv, stdin=its.fileno(), stderr=log)
    told, board = Told(), Board.create(2)
    channel = Channel(ours, asyncio.get_running_loop(), told.heard, lambda: None)
    channel.send(Kind.BEGIN, b"1", [board.descriptor])
    try:
        yield process, channel, told
    finally:
        channel.close()
        process.kill()
        process.wait()


def table(seq: int) -> bytes:
    told = Table(seq=seq, epoch="e", front=Front(workers=1))
    return b'{"rows":{},"table":%b}' % msgspec.json.encode(told)


@on_loop
async def test_an_old_worker_passes_over_the_table_of_a_newer_program_and_takes_the_next_it_can_read(
    tmp_path: Path,
) -> None:
    async with begun(tmp_path) as (process, channel, told):
        channel.send(Kind.TABLE, table(1))
        later = table(2).replace(b'"workers":1', b'"workers":{"least":1,"most":4}')
        assert later != table(2)
        channel.send(Kind.TABLE, later)
        channel.send(Kind.PING)
        await eventually_async(lambda: told.of(Kind.PONG), what="it goes on")
        assert told.of(Kind.SEEN) == [b'["e",1]']
        assert "cannot understand a table" in (tmp_path / "log").read_text()
        channel.send(Kind.TABLE, table(3))
        await eventually_async(lambda: told.of(Kind.SEEN) == [b'["e",1]', b'["e",3]'])
        assert process.poll() is None


async def listening(channel: Channel, told: Told, scheme: str = "http") -> int:
    """Have it listen at a port."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
        order = Listen(1, (f"{scheme}://127.0.0.1:{port}",))
        channel.send(Kind.LISTEN, msgspec.json.encode(order), [door.fileno()])
    await eventually_async(lambda: told.of(Kind.READY), what="it listens")
    return port


def serving(seq: int, engine: Upstream, *, draining: bool = False) -> bytes:
    """One model with one instance, that takes requests or finishes what it has begun."""
    places = (
        Place(slot="chat/0", run=1, address=engine.address, names=() if draining else ("chat",), draining=draining),
    )
    model = Served(name="chat", names=("chat",), engine="vllm", source="hf:a/b", places=places, outlook="ready")
    told = Table(seq=seq, epoch="e", front=Front(workers=1), models={"chat": model})
    return msgspec.json.encode({"rows": rows(told, {}, lambda _: True), "table": told})


@on_loop
async def test_what_is_in_flight_is_told_before_the_table_that_nothing_more_is_sent_by(tmp_path: Path) -> None:
    """Else an instance that drains seems idle for the moment between the two, and is stopped under its requests."""
    async with Upstream("hangs") as engine, begun(tmp_path) as (_, channel, told):
        channel.send(Kind.TABLE, serving(1, engine))
        port = await listening(channel, told)
        async with await Raw.open(port) as client:
            await client.send(chat(stream=True))
            await eventually_async(lambda: engine.working, what="it works on a request")
            channel.send(Kind.TABLE, serving(2, engine, draining=True))
            await eventually_async(lambda: told.of(Kind.SEEN)[1:], what="it goes by the second")
            before = told.frames[: told.frames.index((Kind.SEEN, b'["e",2]'))]
            wants = [payload for kind, payload in before if kind is Kind.DEMAND]
            assert wants, "it has not told of any request"
            assert msgspec.json.decode(wants[-1], type=dict[str, Wanted])["chat"].in_flight == {"chat/0": 1}


@on_loop
async def test_a_table_is_gone_by_once_what_was_chosen_by_the_one_before_has_been_sent(tmp_path: Path) -> None:
    """Its connection is yet to be made: the instance has not room for another in its backlog."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        full.setblocking(False)
        crowd = [socket.create_connection(full.getsockname())]
        engine = Upstream(port=full.getsockname()[1])
        async with begun(tmp_path) as (_, channel, told):
            channel.send(Kind.TABLE, serving(1, engine))
            async with await Raw.open(await listening(channel, told)) as client:
                await client.send(chat())
                await eventually_async(lambda: b'"chat/0":1' in b"".join(told.of(Kind.DEMAND)), what="it is chosen")
                channel.send(Kind.TABLE, serving(2, engine, draining=True))
                channel.send(Kind.PING)
                await eventually_async(lambda: told.of(Kind.PONG), what="it has taken the second")
                assert told.of(Kind.SEEN) == [b'["e",1]']
                crowd.append(full.accept()[0])
                await eventually_async(lambda: told.of(Kind.SEEN)[1:], what="it goes by the second")
                connection, _ = full.accept()
                with connection:
                    connection.setblocking(False)
                    assert (await asyncio.get_running_loop().sock_recv(connection, 1000)).startswith(b"POST ")
        for each in crowd:
            each.close()


@on_loop
async def test_a_handshake_that_goes_on_is_ended_and_its_request_answered_by_a_worker_that_drains(
    tmp_path: Path,
) -> None:
    told_of = Table(seq=1, epoch="e", sites=(Site(name="one", hosts=("gateway",), tls=make(tmp_path / "tls", "one")),))
    async with begun(tmp_path) as (process, channel, told):
        channel.send(Kind.TABLE, msgspec.json.encode({"rows": {}, "table": told_of}))
        port = await listening(channel, told, "https")
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        for count in (1, 2):
            channel.send(Kind.PING)
            await eventually_async(lambda count=count: len(told.of(Kind.PONG)) == count, what="it has accepted it")
        channel.send(Kind.DRAIN, b"30")
        channel.send(Kind.PING)
        await eventually_async(lambda: told.of(Kind.PONG)[2:], what="it drains")
        secure = await asyncio.open_connection(sock=sock, ssl=client(), server_hostname="gateway")
        async with Raw(*secure) as raw:
            assert (await raw.ask(request("GET", "/health"))).status == 200
        await eventually_async(lambda: process.poll() == 0, what="it ends then")


@on_loop
async def test_what_it_cannot_do_of_another_kind_ends_it_so_that_another_takes_its_place(tmp_path: Path) -> None:
    async with begun(tmp_path) as (process, channel, _):
        channel.send(Kind.LISTEN, b'{"number":"one"}')
        await eventually_async(lambda: process.poll() not in (None, 0))
