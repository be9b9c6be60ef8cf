"""`holdfast bundle` and `import`: models as a file, from a machine that has them to one without internet."""

import argparse
import contextlib
import os
import sys
from collections.abc import Generator
from functools import partial
from typing import BinaryIO

from reconciler import shelf
from reconciler.act.bundle import pack
from reconciler.act.unbundle import Taken, unpack
from reconciler.cli import cache
from reconciler.cli.places import Places, places
from reconciler.cli.screen import Screen, warn
from reconciler.client import Client
from reconciler.model.errors import HoldfastError
from reconciler.model.quantity import print_size
from reconciler.model.stored import Kept, Shelf
from reconciler.plan import spare
from reconciler.plan.words import several
from reconciler.spec.load import load_once
from tui.view.clean import line

_STREAM = "-"


def bundle(chosen: argparse.Namespace) -> int:
    """Write the weights of models, as they lie in the cache, into one tar."""
    where = places(chosen, here=True)
    found, client = cache.look(where)
    meant = {each.source: each for name in chosen.models for each in _meant(found, name)}
    models = [_whole(found, each) for each in meant.values()]
    declared = _declared(_root(where, client), chosen.models) if chosen.yaml else {}
    with _output(chosen.output) as out:
        size = pack(out, models, declared)
    parts = [f"{model.source}{f' at {model.revision[:7]}' if model.revision else ''}" for model in models]
    tell = warn if chosen.output == _STREAM else Screen().say
    tell(line(f"{chosen.output}: {print_size(size)}: {', '.join((*parts, *declared))}"))
    return 0


def take(chosen: argparse.Namespace) -> int:
    """Take a bundle into the cache of this machine."""
    where, screen, taken = places(chosen, here=True), Screen(), Taken()
    found, client = cache.look(where)
    place = shelf.place_of(found)
    with _input(chosen.file) as file:
        try:
            with _as_owner(place.ours):
                unpack(file.read, place, partial(_room, found), taken)
        except HoldfastError as error:
            kept = f"; {several(taken.whole)} came whole, and stays" if taken.whole else ""
            raise HoldfastError(f"cannot import {chosen.file}: {error}{kept}") from None
    for source in taken.whole:
        screen.say(line(f"{source} is here, whole and checked"))
    _declare(taken.fleet, _root(where, client), wanted=chosen.yaml, screen=screen)
    if client is not None:
        client.apply()
    return 0


# -- what is carried


def _root(where: Places, client: Client | None) -> str:
    """The fleet's directory: the daemon's own where one runs."""
    return client.info().root if client is not None else os.path.abspath(where.fleet)


def _meant(found: Shelf, name: str) -> list[Kept]:
    """The sources of a model that is declared, or the one that is named. Raises HoldfastError."""
    meant = [kept for kept in found.kept if name in kept.needed_by]
    meant = meant or [kept for kept in found.kept if kept.source in (name, f"{name}/*.gguf")]
    if not meant:
        raise HoldfastError(
            f"cannot bundle {name}: nothing that was fetched for a model of that name is here; see `holdfast models`"
        )
    return meant


def _whole(found: Shelf, kept: Kept) -> shelf.Whole:
    whole = shelf.whole(shelf.directory(shelf.place_of(found), kept.source)) if kept.state == "whole" else None
    if whole is None:
        raise HoldfastError(f"cannot bundle {kept.source}: it is not all here; see `holdfast models`")
    return whole


def _declared(root: str, names: list[str]) -> dict[str, bytes]:
    """The files that declare these, by name. Raises HoldfastError and OSError."""
    fleet, found = load_once(root), dict[str, bytes]()
    for name in names:
        workload = fleet.workloads.get(name)
        if workload is not None:
            path = os.path.join(workload.directory, os.path.basename(workload.source.path))
            if os.path.dirname(path) != root:
                raise HoldfastError(f"cannot bundle {workload.source.path}: only files right in {root} are carried")
            with open(path, "rb") as file:
                found[os.path.basename(path)] = file.read()
    return found


def _declare(files: dict[str, bytes], root: str, *, wanted: bool, screen: Screen) -> None:
    """Put files of the fleet where they are read, none over another."""
    if not files:
        return
    if not wanted:
        screen.say(f"it carries {', '.join(files)} too; `--yaml` puts that into {line(root)}")
        return
    os.makedirs(root, exist_ok=True)
    for name, data in files.items():
        path = os.path.join(root, name)
        try:
            with open(path, "xb") as file:
                file.write(data)
            screen.say(line(f"wrote {path}"))
        except FileExistsError:
            warn(line(f"holdfast: {path} is there already; it was left as it is"))


# -- from where, to where


def _room(found: Shelf, needed: int) -> None:
    """Raises HoldfastError where so many bytes more have no room, with what to delete."""
    limit = found.limit if found.limit is not None else sys.maxsize
    short = max(needed - found.free, found.size + needed - limit)
    if needed and short > 0:
        what = f"it needs {print_size(needed)} more, and {found.path} has {print_size(found.free)} free"
        if found.size + needed > limit:
            holds = f"{print_size(found.size)} of its {print_size(limit)}"
            what = f"it needs {print_size(needed)} more, and the cache holds {holds}"
        raise HoldfastError(f"{what}; {spare.advised(found, short)}")


@contextlib.contextmanager
def _output(name: str) -> Generator[BinaryIO]:
    """Where a bundle is written: all of it has its name, or nothing. Raises HoldfastError."""
    if name == _STREAM:
        if sys.stdout.isatty():
            raise HoldfastError("cannot write a bundle to a terminal; name a file, or pipe it on")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.exists(name):
        raise HoldfastError(f"cannot write {name}: it is there already; remove it, or name another")
    fresh = f"{name}.part"
    try:
        with open(fresh, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, name)
    except OSError as error:
        if error.filename not in (None, fresh, name):
            raise
        raise HoldfastError(f"cannot write {name}: {(error.strerror or str(error)).lower()}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)


@contextlib.contextmanager
def _input(name: str) -> Generator[BinaryIO]:
    if name == _STREAM:
        yield sys.stdin.buffer
        return
    with open(name, "rb") as file:
        yield file


@contextlib.contextmanager
def _as_owner(path: str) -> Generator[None]:
    """For root, be whose cache it is: the daemon has to be able to use, and to delete, what is put there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    owner = os.stat(path)
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    group = os.getegid()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
