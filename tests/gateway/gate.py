"""A worker's data plane on a real socket, in the test's own loop: `async with Gate(chat=[engine]) as gate`."""

import asyncio
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from reconciler.gateway import rows
from reconciler.gateway.board import Board
from reconciler.gateway.core import Core
from reconciler.gateway.observer import Observer
from reconciler.gateway.record import Record
from reconciler.gateway.server import Connection
from reconciler.model.routing import Front, Grant, Outlook, Place, Served, Site, Table
from tests.gateway.client import Answer, Raw, chat
from tests.gateway.upstream import Upstream


class Watcher(Observer):
    """Keeps the records of all requests that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []

    def ended(self, record: Record) -> None:
        super().ended(record)
        self.records.append(record)


def place(engine: Upstream, slot: str, run: int = 1, *, names: tuple[str, ...], **more: Any) -> Place:
    return Place(slot=slot, run=run, address=engine.address, names=names, **more)


def served(name: str, engines: Sequence[Upstream] = (), *, outlook: Outlook | None = None, **more: Any) -> Served:
    """A model with a replica for each engine."""
    names = more.pop("names", (name,))
    known_as = more.pop("known_as", {})
    places = tuple(place(one, f"{name}/{n}", names=names, known_as=known_as) for n, one in enumerate(engines))
    outlook = outlook or ("ready" if places else "absent")
    return Served(name=name, names=names, engine="vllm", source="hf:a/b", places=places, outlook=outlook, **more)


class Bugs(logging.Handler):
    """What was logged as an error: by the gateway of itself, or by a loop of what it called."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


class Gate:
    """A Core that listens, and the table that it goes by. A bug of its own that it logged fails the test."""

    def __init__(
        self, *models: Served, front: Front | None = None, grants: tuple[Grant, ...] = (), sites: tuple[Site, ...] = ()
    ) -> None:
        self.table = Table(
            seq=1, models={one.name: one for one in models}, front=front or Front(), grants=grants, sites=sites
        )
        self.observer = Watcher()
        master = Board.create(2)
        self.board = Board.open(master.descriptor, 1)
        self.changes = 0
        self._rows: dict[str, int] = {}
        self._later = 0.0
        self._bugs = Bugs()
        self.connections: list[Connection] = []
        """All that there ever were."""

    async def __aenter__(self) -> Self:
        logging.getLogger().addHandler(self._bugs)
        self.core = Core(
            board=self.board,
            observer=self.observer,
            changed=self._changed,
            scrape=self._scrape,
            directory=tempfile.gettempdir(),
            now=self._now,
        )
        self.take(self.table)
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self._connection, "127.0.0.1", 0)
        self.port: int = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.core.cut()
        self.core.close()
        await asyncio.sleep(0)
        logging.getLogger().removeHandler(self._bugs)
        assert not self._bugs.found, "\n".join(self._bugs.found)

    def _connection(self) -> Connection:
        made = Connection(self.core)
        self.connections.append(made)
        return made

    def _now(self) -> float:
        return time.monotonic() + self._later

    def later(self, seconds: float) -> None:
        """So much time passes at once."""
        self._later += seconds

    def _changed(self) -> None:
        self.changes += 1

    async def _scrape(self) -> bytes:
        return b"scraped 1\n"

    def take(self, table: Table) -> None:
        """Another table, as the master would pass it."""
        self.table = replace(table, seq=self.table.seq + 1)
        self._rows = rows.rows(self.table, self._rows, lambda _: True)
        self.core.take(self.table, self._rows)

    def tell(self, *models: Served, **more: Any) -> None:
        """The same table with other models."""
        self.take(replace(self.table, models={**self.table.models, **{one.name: one for one in models}}, **more))

    @property
    def records(self) -> list[Record]:
        return self.observer.records

    async def open(self) -> Raw:
        return await Raw.open(self.port)

    async def ask(self, data: bytes | None = None) -> Answer:
        """One request on a connection of its own."""
        async with await self.open() as client:
            return await client.ask(data if data is not None else chat())
