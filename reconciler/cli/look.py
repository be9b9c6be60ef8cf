"""Verbs that look: how the fleet does, what its instances wrote, what happened."""

import argparse
import json
import sys
import time
from dataclasses import asdict

from reconciler.cli.ask import slot
from reconciler.cli.places import places
from reconciler.cli.screen import Screen
from reconciler.cli.wait import polled, settled
from reconciler.client import Client
from reconciler.model.errors import HoldfastError
from reconciler.model.status import Event, Status
from tui.view.clean import Cleaner
from tui.view.status import event_text, status_text

NEWEST = 50
_PATIENCE = 3600.0
"""Seconds that a follower waits for a daemon to come back."""


def status(chosen: argparse.Namespace) -> int:
    """Show the table, once or again and again."""
    client, screen = Client(places(chosen).socket), Screen()
    if chosen.watch and chosen.json:
        for found in client.statuses(patience=_PATIENCE):
            screen.say(_json(_only(found, chosen.name)))
    if chosen.watch:
        return _watch(client, screen, chosen.name)
    found = _only(client.status(), chosen.name)
    if chosen.json:
        screen.say(_json(found))
    else:
        screen.say(status_text(found, width=screen.width, colour=screen.colour, only=chosen.name))
    return 0 if all(map(settled, found.workloads.values())) and not (found.problems and chosen.name is None) else 3


def logs(chosen: argparse.Namespace) -> int:
    """Print what an instance wrote, made safe for a terminal."""
    name, index = slot(chosen.name)
    client = Client(places(chosen).socket)
    pieces = client.log(name, index or 0, chosen.run, lines=chosen.lines, follow=chosen.follow)
    if chosen.raw:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        return 0
    cleaner = Cleaner()
    for piece in pieces:
        sys.stdout.write(cleaner.feed(piece))
        sys.stdout.flush()
    if rest := cleaner.end():
        sys.stdout.write(f"{rest}\n")
    return 0


def events(chosen: argparse.Namespace) -> int:
    """Print what happened, and perhaps what happens."""
    client, screen = Client(places(chosen).socket), Screen()
    seq = chosen.since
    if seq is None:
        newest = client.events(limit=NEWEST, subject=chosen.name, newest=True)
        for event in newest:
            _say_event(screen, event, as_json=chosen.json)
        seq = newest[-1].seq if newest else 0
    elif not chosen.follow:
        while page := client.events(since=seq, subject=chosen.name):
            for event in page:
                _say_event(screen, event, as_json=chosen.json)
            seq = page[-1].seq
    if chosen.follow:
        for event in client.follow_events(since=seq, subject=chosen.name, patience=_PATIENCE):
            _say_event(screen, event, as_json=chosen.json)
    return 0


def _watch(client: Client, screen: Screen, name: str | None) -> int:
    before = None
    for found in polled(client, every=0.5):
        found = _only(found, name)
        text = status_text(found, width=screen.width, colour=screen.colour, only=name)
        if screen.terminal:
            screen.draw(text)
        elif found.workloads != before:
            screen.say(text)
        before = found.workloads
    return 0


def _only(found: Status, name: str | None) -> Status:
    """The status of one workload. Raises HoldfastError where there is none of that name."""
    if name is None:
        return found
    row = found.workloads.get(name)
    if row is None:
        known = ", ".join(found.workloads) or "nothing"
        raise HoldfastError(f"cannot show {name}: it is not in the fleet; {known} is")
    return Status(
        host=found.host,
        root=found.root,
        revision=found.revision,
        now=found.now,
        converged=found.converged,
        workloads={name: row},
        gpus=found.gpus,
        meters=found.meters,
        problems=tuple(problem for problem in found.problems if name in problem.names),
        degraded=found.degraded,
    )


def _json(found: Status) -> str:
    return json.dumps(asdict(found), ensure_ascii=False)


def _say_event(screen: Screen, event: Event, *, as_json: bool) -> None:
    if as_json:
        screen.say(json.dumps(asdict(event), ensure_ascii=False))
        return
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    screen.say(event_text(event, clock=clock, width=None, colour=screen.colour))
