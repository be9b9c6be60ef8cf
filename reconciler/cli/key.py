"""`holdfast key`: a new key of the gateway, and whose key one is. Keys go by stdin and stdout, never by arguments."""

import argparse
import getpass
import json
import re
import sys
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from reconciler.cli.places import places
from reconciler.cli.screen import Screen, warn
from reconciler.gateway.key import digest, new_key, shape
from reconciler.model.errors import HoldfastError
from reconciler.model.fields import NAME
from reconciler.model.fleet import Fleet
from reconciler.model.gateway import Access, AccessKey, Expiry
from reconciler.model.quantity import parse_duration
from reconciler.spec.load import load_once
from tui.view.clean import line
from tui.view.paint import counted


def known(chosen: argparse.Namespace) -> int:
    """List the keys that the fleet knows, by the beginnings of their hashes."""
    fleet, screen, now = _fleet(chosen), Screen(), datetime.now(UTC)
    keys = [(access, key) for _, access in sorted(fleet.access.items()) for key in access.keys]
    if chosen.json:
        told = [{"access": access.name, **key.model_dump(mode="json")} for access, key in keys]
        screen.say(json.dumps(told, ensure_ascii=False))
        return 0
    if not keys:
        screen.say(f"no Access is declared in {line(fleet.root)}: the gateway is open, on loopback only")
    rows = [("ACCESS", "SHA256", "EXPIRES", "NOTE")] if keys else []
    rows += [(access.name, f"{key.sha256[:12]}…", _until(key, now), line(key.note)) for access, key in keys]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        screen.say("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def new(chosen: argparse.Namespace) -> int:
    """Print a key, once, and on stderr what the fleet is to know of it."""
    name = chosen.name
    if not re.fullmatch(NAME, name):
        raise HoldfastError(f"cannot name an Access {line(name)}: write a-z, 0-9 and '-', at most 63 characters")
    expires = _expires(chosen.expires, datetime.now(UTC)) if chosen.expires is not None else None
    key = new_key()
    lines = ["kind: Access", f"name: {name}", "keys:", f"  - sha256: {digest(key.encode()).hex()}"]
    lines += [f"    expires: {expires}"] if expires is not None else []
    lines += [f"    note: {json.dumps(chosen.note, ensure_ascii=False)}"] if chosen.note else []
    Screen().say(key)
    warn("# That is the key; it is not shown again. What the fleet is to know of it, in a file of its own,")
    warn(f"# or of it the item of `keys` in the Access {name} that is there:")
    warn("\n".join(lines))
    return 0


def check(chosen: argparse.Namespace) -> int:
    """Read a key, and say whose it is; 1 where the gateway would refuse it."""
    shown = (getpass.getpass("key: ") if sys.stdin.isatty() else sys.stdin.readline(4096)).strip()
    if not shown:
        raise HoldfastError("cannot check a key: none came on stdin")
    fleet, now = _fleet(chosen), datetime.now(UTC)
    hashed = digest(shown.encode()).hex()
    for access in fleet.access.values():
        for key in access.keys:
            if key.sha256 == hashed:
                return _told(access, key, now)
    if shape(shown) == "mistyped":
        warn("holdfast: it is mistyped: a character is wrong or missing, as its checksum shows")
    else:
        warn(f"holdfast: it is unknown: no Access in {line(fleet.root)} has its hash, {hashed[:12]}…")
    return 1


def _told(access: Access, key: AccessKey, now: datetime) -> int:
    of = f"a key of the Access {access.name}" + (f" ({line(key.note)})" if key.note else "")
    if key.expires is not None and now >= key.expires:
        warn(f"holdfast: it is {of}, and expired on {_moment(key.expires)}")
        return 1
    until = "for good" if key.expires is None else f"until {_moment(key.expires)}"
    Screen().say(f"it is {of}, {until}; for {', '.join(access.roles)} of {', '.join(access.models)}")
    return 0


def _fleet(chosen: argparse.Namespace) -> Fleet:
    """The fleet as its files say it; what cannot be read is told."""
    fleet = load_once(places(chosen, here=True).fleet)
    if fleet.missing is not None:
        raise HoldfastError(f"cannot look for keys: {fleet.missing}")
    if fleet.problems:
        files = len({problem.path for problem in fleet.problems})
        warn(f"holdfast: {counted(files, 'file')} cannot be read, and nothing of what it declares is known here")
    return fleet


def _expires(text: str, now: datetime) -> str:
    """`90d` or a date, as a file says it. Raises HoldfastError."""
    try:
        after = parse_duration(text)
    except ValueError:
        try:
            at = _EXPIRY.validate_python(text)
        except ValidationError:
            raise HoldfastError(
                f"cannot let a key expire at {line(text)}: write a time such as 90d, or a date such as 2027-01-31"
            ) from None
    else:
        at = now + after
        # whole days end with a day: a date says that, and is what a person would write
        text = at.strftime("%Y-%m-%d" if after % timedelta(days=1) == timedelta(0) else "%Y-%m-%dT%H:%M:%SZ")
    if at <= now:
        raise HoldfastError(f"cannot let a key expire at {line(text)}: that is over")
    return text


_EXPIRY: TypeAdapter[datetime] = TypeAdapter(Expiry)


def _until(key: AccessKey, now: datetime) -> str:
    if key.expires is None:
        return "never"
    return _moment(key.expires) + (" (over)" if now >= key.expires else "")


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
