"""The models that somebody may ask, as `/v1/models` shows them: OpenAI's form, or Anthropic's; and how each is."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from reconciler.gateway.refusal import Refusal, unknown_model
from reconciler.gateway.words import fit
from reconciler.model.routing import Outlook, Served, Table

if TYPE_CHECKING:
    from reconciler.gateway.exchange import Exchange

Shows = Callable[[str], object]
"""Whether who asks may know of a name: key and site allow it."""

_BEST: tuple[Outlook, ...] = ("ready", "coming", "asleep", "absent", "blocked")


def answer(table: Table, exchange: "Exchange") -> bytes | Refusal:
    """Of GET /v1/models all, of GET /v1/models/{id} the one; Anthropic's form for who names its version."""
    shows = partial(exchange.core.shows, exchange)
    anthropic = any(line.lower().startswith(b"anthropic-version:") for line in exchange.forwarded)
    if exchange.operation.kind == "models":
        return every(table, shows, anthropic=anthropic)
    name = exchange.operation.named
    return one(table, name, shows, anthropic=anthropic) or unknown_model(name)


def every(table: Table, shows: Shows, *, anthropic: bool) -> bytes:
    """All names that are shown, in one page."""
    bearers = _bearers(table)
    data = [_shown(name, bearers, shows, anthropic) for name in sorted(bearers) if shows(name)]
    if not anthropic:
        return msgspec.json.encode({"object": "list", "data": data})
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return msgspec.json.encode({"data": data, "has_more": False, "first_id": first, "last_id": last})


def one(table: Table, name: str, shows: Shows, *, anthropic: bool) -> bytes | None:
    """The model of this name; None where none is shown."""
    bearers = _bearers(table)
    return msgspec.json.encode(_shown(name, bearers, shows, anthropic)) if name in bearers and shows(name) else None


def _bearers(table: Table) -> dict[str, list[Served]]:
    """By name, the models that have it."""
    found: dict[str, list[Served]] = {}
    for served in table.models.values():
        for name in served.names:
            found.setdefault(name, []).append(served)
    return found


def _shown(name: str, names: Mapping[str, list[Served]], shows: Shows, anthropic: bool) -> dict[str, Any]:
    """One name, and the models that share it: the one that is most able to answer stands for all."""
    bearers = names[name]
    states = {served.name: _state(name, served) for served in bearers}
    served = min(bearers, key=lambda each: (_BEST.index(states[each.name][0]), each.name))
    state, why, _ = states[served.name]
    ours: dict[str, Any] = {"state": state, "engine": served.engine}
    if why := fit(why, names, shows):
        ours["why"] = why
    if served.context is not None:
        ours["context_length"] = served.context
    if len(bearers) > 1:
        if sharing := sorted(filter(shows, states)):
            ours["shared_by"] = sharing
    elif name == served.name or not shows(served.name):
        pass
    elif name in served.adapters:
        ours["adapter_of"] = served.name
    else:
        ours["alias_of"] = served.name
    ours["replicas"] = sum(replicas for _, _, replicas in states.values())
    if anthropic:
        created = datetime.fromtimestamp(served.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        shape = {"type": "model", "id": name, "display_name": name, "created_at": created, "lifecycle": "active"}
        lengths = {"max_input_tokens": served.context}
    else:
        shape = {"id": name, "object": "model", "created": served.created, "owned_by": "holdfast"}
        lengths = {"max_model_len": served.context, "context_length": served.context}  # as vLLM's clients, and others
    return shape | (lengths if served.context is not None else {}) | {"holdfast": ours}


def _state(name: str, served: Served) -> tuple[Outlook, str, int]:
    """How a name of a model is, why, and how many instances answer to it."""
    replicas = sum(name in place.names and not place.draining for place in served.places)
    if served.outlook == "ready" and not replicas:
        return "coming", "no instance has it yet", 0
    return served.outlook, served.why, replicas
