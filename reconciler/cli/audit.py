"""`holdfast audit`: who did what by command, and whether anybody changed that since."""

import argparse
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from reconciler.chain import BEGINNING, Broken, Head, Line, read
from reconciler.cli.places import places
from reconciler.cli.screen import Screen, warn
from reconciler.client import Client
from reconciler.model.acts import Act
from reconciler.model.errors import ApiError
from reconciler.model.status import Event, Reason
from tui.view.clean import line
from tui.view.paint import counted

REQUESTS = "requests-"
"""How files of gateways begin: requests, not acts, and no event tells of them."""
_HEAD = re.compile(r"; audit (\d{1,15}):([0-9a-f]{16})$")


class _Told(NamedTuple):
    """A head of the chain, as an event tells it."""

    seq: int
    hash: str
    at: float


def audit(chosen: argparse.Namespace) -> int:
    """Print each act, or only whether the file is what was written; 1 where it is not."""
    files = chosen.files or [os.path.join(places(chosen).state, "audit.log")]
    screen, hashes, last = Screen(), dict[int, str](), BEGINNING
    for path in files:
        with open(path, "rb") as file:
            for found in read(file, last):
                if isinstance(found, Broken):
                    warn(f"holdfast: {line(path)}:{found.line}: {found.why}")
                    return 1
                last = found.head
                hashes[last.seq] = last.hash[:16]
                if not chosen.verify:
                    screen.say(_json(found) if chosen.json else _text(found))
    if not chosen.verify:
        return 0
    if os.path.basename(files[-1]).startswith(REQUESTS):  # by its name: what stands in it does not say what guards it
        screen.say(_whole(files[-1], hashes, last))
        return 0
    return _verified(screen, Client(places(chosen).socket), files[-1], hashes, last)


def _verified(screen: Screen, client: Client, path: str, hashes: Mapping[int, str], last: Head) -> int:
    """Compare with what events say: a chain alone does not show that its end was cut off."""
    whole = _whole(path, hashes, last)
    try:
        told = list(_told(client))
    except ApiError as error:
        warn(f"holdfast: cannot compare with events, which would show that lines at the end are missing: {error}")
        screen.say(whole)
        return 0
    for one in told:
        if hashes.get(one.seq) != one.hash:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.at))
            what = "is another" if one.seq in hashes else "is missing"
            warn(f"holdfast: {line(path)}: line {one.seq} {what}: an event of {at} says {one.seq}:{one.hash}")
            return 1
    screen.say(f"{whole}; {counted(len(told), 'event')} agree{'s' if len(told) == 1 else ''}")
    return 0


def _whole(path: str, hashes: Mapping[int, str], last: Head) -> str:
    return f"{line(path)}: {counted(len(hashes), 'line')}, each follows from the one before; the last is {last}"


def _told(client: Client) -> Iterator[_Told]:
    """The heads that events tell, of the chain that is there now."""
    seq, found = 0, list[_Told]()
    while page := client.events(since=seq, limit=10_000):
        for event in page:
            head = _head(event)
            if head is not None and head.seq == 0:
                found.clear()  # a chain was set aside, with an event
            elif head is not None:
                found.append(head)
        seq = page[-1].seq
    yield from found


def _head(event: Event) -> _Told | None:
    match = _HEAD.search(event.message) if event.reason in (Reason.Asked, Reason.Recovered) else None
    return _Told(int(match[1]), match[2], event.at) if match else None


def _json(found: Line) -> str:
    return json.dumps({"seq": found.head.seq, **found.record, "hash": found.head.hash}, ensure_ascii=False)


def _text(found: Line) -> str:
    record = found.record
    at = record.get("at")
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if isinstance(at, int | float) else "?"
    try:
        said = line(str(msgspec.convert(record, Act)))
    except msgspec.ValidationError:
        said = _of_request(record) if "client" in record or "lost" in record else _outcome(record)
    return f"{found.head.seq:>5}  {when}  {said}"


def _outcome(record: Mapping[str, object]) -> str:
    return f"  of {line(str(record.get('of')))}: {line(str(record.get('outcome')))}"


def _of_request(record: Mapping[str, object]) -> str:
    """`team (10.0.0.7) asked: chat, /v1/chat/completions; 200; 12 tokens read, 40 written`."""
    said = {name: line(str(value)) for name, value in record.items()}
    if "lost" in said:
        return f"{said['lost']} records of requests could not be kept"
    outcome = " ".join(filter(None, (said.get("status"), said.get("reason"))))
    what = ", ".join(filter(None, (said.get("model") or said.get("asked"), said.get("path"))))
    tokens = f"{said.get('read')} tokens read, {said.get('written')} written"
    return f"{said.get('key') or 'anybody'} ({said.get('client')}) asked: {what}; {outcome}; {tokens}"
