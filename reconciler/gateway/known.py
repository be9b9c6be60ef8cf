"""Requests that begin as an earlier one did: what was made of that head while the table was the same holds for them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.gateway import trace
from reconciler.gateway.body import IN_MEMORY, Body
from reconciler.gateway.exchange import Exchange
from reconciler.gateway.paths import Operation
from reconciler.gateway.template import Template, template
from reconciler.model.routing import Grant, Site, Table

if TYPE_CHECKING:
    from reconciler.gateway.core import Core
    from reconciler.gateway.server import Connection

MOST = 1024
"""Heads that are known at once."""


@dataclass(frozen=True, slots=True)
class Known:
    """A head, and what was made of it."""

    template: Template
    table: Table
    operation: Operation
    method: str
    path: str
    query: bytes
    site: Site | None
    media: bytes
    grant: Grant | None
    key: str
    lines: bytes
    """Headers that an instance gets."""


def remembered(exchange: Exchange, data: bytes) -> Known | None:
    """What is known from a request that came whole in `data`; None where the next is to be looked at anew.

    Its id must be one of ours, the last of the headers that an instance gets.
    """
    grant, core = exchange.grant, exchange.core
    expires = grant is not None and any(key.expires is not None for key in grant.keys)
    if exchange.refusal is not None or exchange.operation.kind != "inference" or not exchange.keep or expires:
        return None
    found = template(data)
    if found is None:
        return None
    if len(core.heads) >= MOST:
        core.heads.clear()
    made = Known(
        found, core.directory.table, exchange.operation, exchange.method, exchange.path, exchange.query, exchange.site,
        exchange.media, grant, exchange.key, b"".join(exchange.forwarded[:-1]),
    )  # fmt: skip
    return core.heads.setdefault(found, made)


def begun(known: Known, core: "Core", connection: "Connection", content: bytes) -> Exchange:
    """A request with that head and this body."""
    exchange = Exchange(core, connection, known.operation, core.now())
    exchange.client, exchange.method, exchange.path = connection.address, known.method, known.path
    exchange.query, exchange.site, exchange.media = known.query, known.site, known.media
    exchange.grant, exchange.key = known.grant, known.key
    exchange.request_id = trace.request_id(None)
    exchange.id_line = b"x-request-id: %b\r\n" % exchange.request_id.encode()
    exchange.forwarded = [known.lines, exchange.id_line]
    exchange.received = len(content)
    if len(content) <= IN_MEMORY:
        exchange.body = Body(core.spool, content)
    else:
        exchange.body = Body(core.spool)
        exchange.refusal = exchange.body.feed(content)
    return exchange
