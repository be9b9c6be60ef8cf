"""What the engine is asked about our containers. Each function blocks, in a thread of `Api.call`."""

import contextlib
import math
from datetime import UTC, datetime
from typing import NamedTuple

from reconciler.act.docker.api import Client, Info
from reconciler.act.docker.labels import SLOT, STATE, TOKEN, Row, row

_GOING = 409
"""Somebody else removes it already."""


class Seen(NamedTuple):
    """All that we need to know of one container."""

    id: str
    state: str
    """The engine's word for how it is."""
    pid: int
    """0 where it does not run, or is about to be started again by the engine itself."""
    code: int
    error: str
    oom: bool
    """Whether it was killed for memory."""
    started: float | None
    """Seconds since the epoch."""
    finished: float | None
    limit: int
    """Bytes of memory; 0: none."""
    restarts: bool
    """Whether the engine is told to restart it by itself."""


class Listed(NamedTuple):
    """What carries the label of one state directory."""

    rows: list[Row]
    strange: dict[str, str]
    """Id → name of what only says so."""


def listed(client: Client, owner: str) -> Listed:
    """All of them."""
    found = Listed([], {})
    for each in client.containers(all=True, filters={"label": f"{STATE}={owner}"}):
        ours = row(each)
        if ours is not None:
            found.rows.append(ours)
        else:
            found.strange[str(each.get("Id"))] = " ".join(each.get("Names") or ())
    return found


def inspect(client: Client, container: str, token: str) -> Seen | None:
    """All about one; None where it is another run's, or not ours."""
    found = client.inspect_container(container)
    labels: Info = found["Config"]["Labels"] or {}
    if labels.get(TOKEN) != token:
        return None
    state: Info = found["State"]
    host: Info = found["HostConfig"]
    policy: Info = host.get("RestartPolicy") or {}
    running = bool(state["Running"]) and not state.get("Restarting")
    return Seen(
        id=str(found["Id"]),
        state=str(state["Status"]),
        pid=int(state["Pid"]) if running else 0,
        code=int(state["ExitCode"]),
        error=str(state.get("Error") or ""),
        oom=bool(state.get("OOMKilled")),
        started=_seconds(state["StartedAt"]),
        finished=_seconds(state["FinishedAt"]),
        limit=int(host.get("Memory") or 0),
        restarts=policy.get("Name", "") not in ("", "no"),
    )


def disarm(client: Client, container: str) -> None:
    """Have the engine restart nothing by itself."""
    client.update_container(container, restart_policy={"Name": "no"})


def clear(client: Client, owner: str, slot: str, container: str) -> None:
    """Remove what earlier runs of a slot have left: what has its name, and the one that is known to be its own."""
    from docker.errors import APIError, NotFound  # noqa: PLC0415  see `Api.connect`

    for each in client.containers(all=True, filters={"label": [f"{STATE}={owner}", f"{SLOT}={slot}"]}):
        ours = row(each)
        if ours is None or not (ours.named or ours.id == container):
            continue
        try:
            client.remove_container(ours.id, v=True, force=True)
        except NotFound:
            continue
        except APIError as error:
            if error.response is None or error.response.status_code != _GOING:
                raise
            with contextlib.suppress(NotFound):
                client.wait(ours.id, timeout=client.timeout, condition="removed")  # until then it has its name


def stop(client: Client, container: str, grace: float) -> None:
    """Have it ended, after `grace` seconds by force."""
    if client.inspect_container(container)["State"]["Paused"]:
        client.unpause(container)  # what is paused hears no signal
    client.stop(container, timeout=math.ceil(grace))


def _seconds(text: str) -> float | None:
    """`2026-08-01T12:00:00.123456789Z` as seconds since the epoch; None for the year 1, which stands for never."""
    try:
        found = datetime.fromisoformat(text[:26].rstrip("Z")).replace(tzinfo=UTC)
    except ValueError:
        return None
    return found.timestamp() if found.year > 1 else None
