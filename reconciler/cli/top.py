"""`holdfast top`: what clients do and how models and GPUs bear it, each second."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict

from reconciler.cli.reach import daemon
from reconciler.cli.screen import Screen
from reconciler.client import Client
from reconciler.model.errors import ApiError
from reconciler.model.live import HostMeters
from reconciler.model.status import Status
from tui.view.top import top_row, top_text

_SOON = 0.2


def top(chosen: argparse.Namespace) -> int:
    """Show it until it is interrupted, or once."""
    screen = Screen()
    for found, host in _moments(daemon(chosen), once=chosen.once):
        if chosen.json:
            screen.say(_json(found, host))
        else:
            text = top_text(found, host, width=screen.width, colour=screen.colour)
            screen.draw(text) if screen.terminal else screen.say(text if chosen.once else f"{text}\n")
        if chosen.once:
            break
    return 0


def _moments(client: Client, *, once: bool) -> Iterator[tuple[Status, HostMeters | None]]:
    """The fleet and the machine, each second. For `once` the second reading, as the first cannot tell who is busy."""
    readings = client.live(_SOON if once else 1.0)
    if once:
        next(readings)
    for live in readings:
        try:
            yield client.status(), live.host
        except ApiError as error:
            if error.status != 409:  # else it has not looked yet
                raise


def _json(found: Status, host: HostMeters | None) -> str:
    models = {row.name: top_row(row, found) for row in found.workloads.values() if row.kind == "Model"}
    gpus = [{**asdict(gpu), "meters": found.meters.get(gpu.uuid)} for gpu in found.gpus]
    gateway = asdict(found.gateway) if found.gateway is not None else None
    said = {"gateway": gateway, "models": models, "gpus": gpus, "host": host, "paused": found.paused}
    return json.dumps(said, ensure_ascii=False, default=asdict)
