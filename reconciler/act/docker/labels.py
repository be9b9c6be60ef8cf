"""What the labels of a container say, and when they are believed. Pure.

Anybody can write them, an image carries them into every container that is made of it, and `docker commit` copies ours
into an image. So a container is ours where they agree with each other and with its name, or with the id that is on our
disk.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from reconciler.act.record import Record
from reconciler.model.fields import NAME
from reconciler.model.slots import split_slot

STATE, SLOT, RUN, TOKEN, RECORD = (f"holdfast.{word}" for word in ("state", "slot", "run", "token", "record"))
"""Whose it is (the machine and the state directory), which instance and run, and the record as it is on disk."""
_SLOT = re.compile(f"{NAME.removeprefix('^').removesuffix('$')}/[0-9]{{1,9}}")
_RECORD: TypeAdapter[Record] = TypeAdapter(Record)


class Row(NamedTuple):
    """One container, as the engine lists it, that says it is ours."""

    slot: str
    token: str
    id: str
    state: str
    named: bool
    """Whether it has the name that we give to this slot's."""
    record: Record | None
    """What it was started from, where all that it says of that agrees."""


def name(slot: str) -> str:
    """`chat/0` → `holdfast-chat-0`."""
    return "holdfast-{}-{}".format(*split_slot(slot))


def labels(owner: str, record: Record) -> dict[str, str]:
    """What is written on the container of a run."""
    launch = record.launch
    text = _RECORD.dump_json(record).decode()
    return {STATE: owner, SLOT: launch.slot, RUN: str(launch.run), TOKEN: record.token, RECORD: text}


def row(told: Mapping[str, Any]) -> Row | None:
    """One line of the engine's list; None where that is no container of ours, whatever it says."""
    try:
        said: Mapping[str, str] = told["Labels"]
        slot, token, run, recorded = (said[word] for word in (SLOT, TOKEN, RUN, RECORD))
        if not _SLOT.fullmatch(slot):
            return None
        named = f"/{name(slot)}" in (told["Names"] or ())
        return Row(slot, token, str(told["Id"]), str(told["State"]), named, _record(recorded, slot, token, run))
    except (KeyError, TypeError):
        return None


def _record(text: str, slot: str, token: str, run: str) -> Record | None:
    try:
        found = _RECORD.validate_json(text)
    except ValidationError:
        return None
    launch = found.launch
    agrees = (launch.slot, found.token, str(launch.run)) == (slot, token, run) and launch.container is not None
    return found if agrees else None
