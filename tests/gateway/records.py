"""Requests that have ended, and a table that knows what they asked for."""

from typing import Any

from reconciler.gateway.record import Record
from reconciler.model.routing import Front, Grant, Place, Served, Table


def record(**more: Any) -> Record:
    """A stream of 40 tokens by the key of `team`: began at 10.0, first byte at 10.2, over at 12.0."""
    given: dict[str, Any] = {"began": 10.0, "request_id": "req-1", "trace": "0af7651916cd43dd8448eb211c80319c"}
    given |= {"client": "127.0.0.1", "key": "team", "method": "POST", "path": "/v1/chat/completions"}
    given |= {"asked": "chat", "model": "chat", "slot": "chat/0", "status": 200, "streamed": True, "received": 500}
    given |= {"sent": 8000, "first_byte": 10.2, "last_byte": 11.175, "pieces": 42, "prompt": 12, "written": 40}
    given |= {"ended": 12.0}
    return Record(**(given | more))


def table(*models: str, keys: tuple[str, ...] = ("team",), **front: Any) -> Table:
    """Models with one instance each."""
    return Table(
        models={name: _served(name) for name in models or ("chat",)},
        grants=tuple(Grant(name=name, keys=()) for name in keys),
        front=Front(**front),
    )


def _served(name: str) -> Served:
    place = Place(slot=f"{name}/0", run=1, address="http://127.0.0.1:9001", names=(name,))
    return Served(name=name, names=(name,), engine="vllm", source="hf:o/m", outlook="ready", places=(place,))
