"""The table as a worker uses it: from a model's name to the instances that serve it, each with its connections.

What goes on outlives a table: a place keeps its connections and its failures for as long as its process runs.
"""

import logging
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from reconciler.gateway.access import matching
from reconciler.model.routing import Place, Served, Site, Table

if TYPE_CHECKING:
    from reconciler.gateway.errand import Errand
    from reconciler.gateway.upstream import KnownAnswer, Upstream

log = logging.getLogger(__name__)
_HEADS = 64
_LONGEST_OUT = 10.0
"""Seconds that a place which failed again and again is left alone."""


class Live:
    """An instance that serves."""

    __slots__ = (
        "answer",
        "draining",
        "failures",
        "gone",
        "heads",
        "host",
        "idle",
        "known_as",
        "names",
        "out_until",
        "own",
        "port",
        "queue",
        "row",
        "since",
        "slot",
        "turn",
    )

    def __init__(self, place: Place, row: int, now: float) -> None:
        address = urlsplit(place.address)
        self.slot = place.slot
        self.host = address.hostname or ""
        self.port = address.port or 80
        self.row = row
        """Where on the board its requests in flight are counted."""
        self.since = now
        """When it was first seen: it is given little at first."""
        self.own = 0
        """Requests of this worker that it works on."""
        self.queue = 0
        """Requests that wait in it, as it said last: those of other clients too."""
        self.idle: list[Upstream] = []
        """Connections that nobody uses, the last used last."""
        self.failures = 0
        """In a row."""
        self.out_until = 0.0
        self.turn = 0
        """Which request of all was the last that it was given."""
        self.gone = False
        self.answer: KnownAnswer | None = None
        """What its last answer began with."""
        self.heads: dict[bytes, bytes] = {}
        """By path: how a request to it begins."""
        self.names: frozenset[str] = frozenset()
        self.known_as: Mapping[str, str] = {}
        self.draining = False
        self.tell(place)

    def tell(self, place: Place) -> None:
        """What a newer table says of it."""
        self.names, self.known_as, self.draining = frozenset(place.names), place.known_as, place.draining

    def head(self, path: bytes) -> bytes:
        """How a request to this path of it begins."""
        made = self.heads.get(path)
        if made is None:
            host = f"[{self.host}]" if ":" in self.host else self.host
            made = b"POST %b HTTP/1.1\r\nHost: %b:%d\r\n" % (path, host.encode(), self.port)
            if len(self.heads) < _HEADS:
                self.heads[path] = made
        return made

    def failed(self, now: float, why: str) -> None:
        """It did not answer: for a while others are asked."""
        self.failures += 1
        if self.failures == 1:
            log.warning("%s does not answer: %s", self.slot, why)
        self.out_until = now + min(0.25 * 2**self.failures, _LONGEST_OUT)

    def answered(self) -> None:
        """It did."""
        if self.failures:
            self.failures, self.out_until = 0, 0.0

    def leave(self) -> None:
        """It is in no table any more: its connections are closed as they get free."""
        self.gone = True
        for upstream in self.idle[:]:
            upstream.close()
        self.idle.clear()


class Entry:
    """A model."""

    __slots__ = ("name", "places", "served", "waiting")

    def __init__(self, served: Served) -> None:
        self.name = served.name
        self.served = served
        self.places: tuple[Live, ...] = ()
        """Those that take new requests."""
        self.waiting: list[Errand] = []
        """Requests that wait for it, the next first."""


class Rows(Protocol):
    """The part of the board that a worker counts its requests on."""

    def add(self, row: int, by: int) -> None:
        """Count on."""
        ...

    def total(self, row: int) -> int:
        """What all workers counted."""
        ...


class Directory:
    """The newest table, as it is asked for each request."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.table = Table(seq=-1)
        self.entries: dict[str, Entry] = {}
        self.names: dict[str, tuple[Entry, ...]] = {}
        self.places: dict[str, Live] = {}
        """By slot and run, those that drain too."""
        self._shown: dict[str, Callable[[str], object] | None] = {}
        """By site: what tells whether a name is shown there; None: all are."""

    def take(self, table: Table, rows: Mapping[str, int]) -> None:
        """Go by a newer table."""
        now, before = self._now(), self.places
        self.table, self.places = table, {}
        names: dict[str, list[Entry]] = {}
        entries: dict[str, Entry] = {}
        for served in table.models.values():
            entry = self.entries.get(served.name) or Entry(served)
            entry.served = served
            entries[served.name] = entry
            lives: list[Live] = []
            for place in served.places:
                key = f"{place.slot}#{place.run}"
                live = before.get(key)
                if live is not None:
                    live.tell(place)
                elif (row := rows.get(f"place:{key}")) is not None:
                    live = Live(place, row, now)
                else:
                    continue  # the board is full, and its master says so
                self.places[key] = live
                if not live.draining:
                    lives.append(live)
            entry.places = tuple(lives)
            for name in served.names:
                names.setdefault(name, []).append(entry)
        for name, entry in self.entries.items():
            if name not in entries:
                entry.places = ()
        for key, live in before.items():
            if key not in self.places:
                live.leave()
        self.entries, self.names = entries, {name: tuple(those) for name, those in names.items()}
        self._shown = {site.name: matching(site.models) for site in table.sites}

    def find(self, name: str) -> Entry | None:
        """The model that a request for this name goes to: of several by their weights, of those that serve it now.

        Where none does, of those that it is worth to wait for.
        """
        those = self.names.get(name)
        if those is None:
            return None
        if len(those) == 1:
            return those[0]
        able = [entry for entry in those if entry.served.weight > 0] or list(those)
        serve = [entry for entry in able if any(name in live.names for live in entry.places)]
        able = serve or [entry for entry in able if entry.served.outlook != "blocked"] or able
        return random.choices(able, [max(entry.served.weight, 0) or 1 for entry in able])[0]

    def still(self, entry: Entry, name: str) -> Entry | None:
        """The model that has this name now: `entry`, found of it before, for as long as it can be waited for."""
        has = self.entries.get(entry.name) is entry and name in entry.served.names
        if has and entry.served.outlook != "blocked":
            return entry
        other = self.find(name)
        return entry if has and (other is None or other.served.outlook == "blocked") else other

    def shows(self, site: Site, name: str) -> bool:
        """Whether a model's name is shown at a site."""
        match = self._shown.get(site.name, _nothing)
        return match is None or match(name) is not None

    def site(self, host: str, path: str) -> tuple[Site | None, str] | None:
        """The site that a request to this host and path is for, and the rest of the path; None: there is none.

        Where no site is declared everything is shown everywhere. Of several the host counts more than the prefix, and
        the longer one more than the shorter.
        """
        if not self.table.sites:
            return None, path
        best: tuple[tuple[int, int], Site] | None = None
        for site in self.table.sites:
            matched = _matches(site.hosts, host)
            if matched is None or not (not site.prefix or path == site.prefix or path.startswith(site.prefix + "/")):
                continue
            rank = (matched, len(site.prefix))
            if best is None or rank > best[0]:
                best = rank, site
        if best is None:
            return None
        return best[1], path[len(best[1].prefix) :] or "/"

    def declared(self, host: str) -> bool:
        """Whether a site is for this host, and not for any."""
        return any(site.hosts and _matches(site.hosts, host) for site in self.table.sites)


def _nothing(_: str) -> None:
    return None


def _matches(hosts: tuple[str, ...], host: str) -> int | None:
    """How well: a name in full more than a longer part of it, and that more than any host."""
    if not hosts:
        return 0
    best = None
    for each in hosts:
        if each == host:
            return 1 << 16
        if each.startswith("*.") and host.endswith(each[1:]) and len(host) > len(each) - 1:
            best = max(best or 0, len(each))
    return best
