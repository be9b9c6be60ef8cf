"""Verbs that look: how the fleet does, what its instances wrote, what happened."""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from http import HTTPStatus

from reconciler.cli.ask import slot
from reconciler.cli.reach import daemon
from reconciler.cli.screen import Screen, warn
from reconciler.cli.wait import polled, settled
from reconciler.client import Client
from reconciler.model.errors import ApiError, HoldfastError
from reconciler.model.slots import split_slot
from reconciler.model.status import Event, Status
from tui.view.clean import Cleaner
from tui.view.metrics import metrics_text
from tui.view.status import event_text, status_text

NEWEST = 50
_TROUBLE = ("exited", "failing", "starting")
"""States of instances whose logs are rather looked for than those of others, worst first."""
_PATIENCE = 3600.0
"""Seconds that a follower waits for a daemon to come back."""


def status(chosen: argparse.Namespace) -> int:
    """Show the table, once or again and again."""
    client, screen = daemon(chosen), Screen()
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


def metrics(chosen: argparse.Namespace) -> int:
    """Print what engines measure of themselves; 3 where one of them does not tell."""
    found, screen = daemon(chosen).metrics(chosen.name), Screen()
    if chosen.json:
        screen.say(json.dumps([asdict(one) for one in found], ensure_ascii=False))
    else:
        screen.say(metrics_text(found, width=screen.width, colour=screen.colour))
    return 3 if any(one.metrics is None for one in found) else 0


def logs(chosen: argparse.Namespace) -> int:
    """Print what an instance wrote, made safe for a terminal."""
    name, index = slot(chosen.name)
    client = daemon(chosen)
    if index is None:
        index = _meant(client, name, chosen.run)
    pieces = client.log(name, index, chosen.run, lines=chosen.lines, follow=chosen.follow)
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


def _meant(client: Client, name: str, run: int | str | None) -> int:
    """The instance whose log is asked for where none is named: the one in trouble, which is told; else 0.

    Raises HoldfastError where nothing of that name is, or was.
    """
    rows = client.status().workloads
    try:
        runs = client.about(name).runs
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise HoldfastError(f"cannot find {name} in the fleet; there are {', '.join(rows) or 'none'}") from None
    if run == "first-failure":
        found = [each.slot for each in runs if each.first_failure]
    else:
        replicas = rows[name].replicas if name in rows and run is None else ()
        found = [one.slot for state in _TROUBLE for one in replicas if one.state == state]
    chosen = split_slot(found[0])[1] if found else 0
    if chosen:
        warn(f"this is the log of {found[0]}; write {name}/0 for that of the first")
    return chosen


def events(chosen: argparse.Namespace) -> int:
    """Print what happened, and perhaps what happens."""
    client, screen = daemon(chosen), Screen()
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
        elif (found.workloads, found.paused) != before:
            screen.say(text)
        before = found.workloads, found.paused
    return 0


def _only(found: Status, name: str | None) -> Status:
    """The status of one workload. Raises HoldfastError where there is none of that name."""
    if name is None:
        return found
    row = found.workloads.get(name)
    if row is None:
        known = ", ".join(found.workloads) or "nothing"
        raise HoldfastError(f"cannot show {name}: it is not in the fleet; {known} is")
    return replace(
        found,
        workloads={name: row},
        traffic={each: one for each, one in found.traffic.items() if each == name},
        problems=tuple(problem for problem in found.problems if name in problem.names),
    )


def _json(found: Status) -> str:
    return json.dumps(asdict(found), ensure_ascii=False)


def _say_event(screen: Screen, event: Event, *, as_json: bool) -> None:
    if as_json:
        screen.say(json.dumps(asdict(event), ensure_ascii=False))
        return
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    screen.say(event_text(event, clock=clock, width=None, colour=screen.colour))
