"""The cache of this machine, as a command finds it: by the daemon where one runs, else by the files."""

from posixpath import join

from reconciler import shelf
from reconciler.cli.places import SYSTEM, Places
from reconciler.client import Client
from reconciler.model.errors import ApiError
from reconciler.model.fleet import Fleet
from reconciler.model.stored import Shelf
from reconciler.spec.load import load_once

_PATIENCE = 600.0
"""Seconds that a look through a large cache, or deleting much of it, may take."""


def look(where: Places) -> tuple[Shelf, Client | None]:
    """What is in it, and the daemon that said so; None where none runs. Raises ApiError and OSError."""
    client = Client(where.socket, timeout=_PATIENCE)
    try:
        return client.models(), client
    except ApiError as error:
        if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
            raise
    from reconciler.observe import host, shelves
    from reconciler.plan import spare
    from reconciler.plan.fetches import needs

    fleet, name = load_once(where.fleet), host.look().name
    cache = fleet.node(name).cache
    limit, frozen = cache.size if cache is not None else None, spare.frozen(fleet, {})
    return shelves.look(_place(where, fleet, name), needs(fleet), limit=limit, frozen=frozen), None


def _place(where: Places, fleet: Fleet, host: str) -> shelf.Place:
    root = fleet.cache_of(host)
    if root is None and where.state == SYSTEM[1]:
        root = join(SYSTEM[1], ".cache/huggingface")  # what is the service's home is not ours
    return shelf.place(root)
