"""A slot's directory: the launch, recorded before anything is asked, and all that its keeper needs.

`<slots>/<name>.<index>/` holds launch.json (ours), run.json and keeper.sock (the keeper's), out (the FIFO an
engine writes to) and home (its private directory). Secrets stand in it as references only.
"""

import contextlib
import errno
import json
import os
import secrets
import shutil
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from reconciler import held
from reconciler.act import procfs, runfile
from reconciler.model.errors import TransientError
from reconciler.model.plan import Launch
from reconciler.model.slots import split_slot
from reconciler.model.status import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is written before a run is started."""

    token: str
    """What its processes carry, new for each run."""
    boot: str
    """The boot of the machine in which it was written."""
    launch: Launch


_RECORD = TypeAdapter(Record)
_PAGE = 4096
_FILES = ("launch.tmp", "run.json", "out", "keeper.sock", "keeper.err", "launch.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A record that is ready to be committed."""

    data: bytes
    room: int = 0
    """Bytes of the earlier record that it is written over; 0: it lies beside it as a file of its own."""
    fresh: bool = False
    """Whether the slot's directory is new."""


class BrokenRecordError(Exception):
    """A record that cannot be understood. `empty`: it holds nothing at all that could have been started."""

    def __init__(self, message: str, *, empty: bool = False) -> None:
        super().__init__(message)
        self.empty = empty


def folder(slot: str) -> str:
    """`chat/0` → `chat.0`. ValueError for what would lead out of the directory that it is in."""
    name, index = split_slot(slot)
    if not name or "/" in name or name.startswith("."):
        raise ValueError(f"{slot!r} is no slot")
    return f"{name}.{index}"


def slot_of(name: str) -> str | None:
    """`chat.0` → `chat/0`; None for what is no slot's directory."""
    head, _, index = name.rpartition(".")
    return f"{head}/{index}" if head and index.isdigit() and not name.startswith(".") else None


def new(launch: Launch, boot: str) -> Record:
    """The record of a run that is about to be started."""
    return Record(token=secrets.token_hex(16), boot=boot, launch=launch)


def read(path: str) -> Record | None:
    """What is recorded in a slot's directory; None where nothing is. BrokenRecordError, or OSError."""
    try:
        with open(f"{path}/launch.json", "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        return _RECORD.validate_json(text)
    except ValidationError as error:
        try:
            json.loads(text)
        except ValueError:
            raise BrokenRecordError(f"cannot read {path}/launch.json: it is cut off", empty=True) from None
        raise BrokenRecordError(
            f"cannot read {path}/launch.json: {error.error_count()} fields are not as here"
        ) from None


def prepare(path: str, record: Record) -> Pending:
    """Do all that a start will need, except that it is not yet recorded. OSError."""
    data = _dump(record)
    room = _room(path)
    if room is None:
        return _prepare_anew(path, data)
    _mkdir(f"{path}/home")
    if len(data) > room:
        _write_beside(path, data)
        room = 0
    return Pending(data=data, room=room)


def _prepare_anew(path: str, data: bytes) -> Pending:
    fresh = not os.path.isdir(path)
    try:
        if fresh:
            os.mkdir(path, 0o700)
        _mkdir(f"{path}/home")
        with contextlib.suppress(FileExistsError):
            os.mkfifo(f"{path}/out", 0o600)
        if not os.path.exists(f"{path}/run.json"):
            _write(f"{path}/run.json", runfile.encode(runfile.Run()))
        _write(f"{path}/launch.tmp", data)
    except OSError:
        discard(path, fresh=fresh)
        raise
    return Pending(data=data, fresh=fresh)


def _dump(record: Record) -> bytes:
    """With some space behind it, so that the next run's fits in the same place."""
    text = _RECORD.dump_json(record)
    return text.ljust(-(-(len(text) + 64) // 512) * 512)


def _room(path: str) -> int | None:
    """Bytes that can be written over what is recorded: 0 where it would not be one write; None where nothing is."""
    try:
        size = os.stat(f"{path}/launch.json").st_size
    except FileNotFoundError:
        return None
    return size if size <= _PAGE else 0


def commit(path: str, pending: Pending) -> None:
    """From here on it is recorded. Takes no room on the disk. OSError."""
    if not pending.room:
        os.rename(f"{path}/launch.tmp", f"{path}/launch.json")
        return
    # Nothing of the earlier run is left, and one page is written whole or not at all, whoever is killed: making a new
    # file and renaming it over the old one takes a third of a millisecond, as the file system then writes it out.
    descriptor = os.open(f"{path}/launch.json", os.O_WRONLY | os.O_NOFOLLOW)
    try:
        os.pwrite(descriptor, pending.data.ljust(pending.room), 0)
    finally:
        os.close(descriptor)


def discard(path: str, *, fresh: bool) -> None:
    """Undo `prepare`; `fresh`: the whole directory. Needs no descriptor, unless an engine left something at home."""
    for name in _FILES if fresh else _FILES[:1]:
        with contextlib.suppress(OSError):
            os.unlink(f"{path}/{name}")
    if fresh:
        try:
            os.rmdir(f"{path}/home")
            os.rmdir(path)
        except OSError:
            shutil.rmtree(path, ignore_errors=True)


def rewrite(path: str, record: Record) -> None:
    """Record the same run anew. OSError."""
    _write_beside(path, _dump(record))
    try:
        os.rename(f"{path}/launch.tmp", f"{path}/launch.json")
    except OSError:
        discard(path, fresh=False)
        raise


def deserted(path: str, slot: str) -> bool:
    """Whether certainly nothing of this slot runs, whatever its files say. Looks at every process.

    What carries the token of the run that was last started is ours. Where that is not known either, whatever says that
    it is of a slot of this name may be, though it may as well be another daemon's.
    """
    if held.by_somebody(f"{path}/run.json"):
        return False
    run: runfile.Run | None = None
    with contextlib.suppress(OSError):
        run = runfile.read(f"{path}/run.json")
    try:
        status = os.stat(f"{path}/out")
        pipe = (status.st_dev, status.st_ino)
    except FileNotFoundError:
        pipe = (0, 0)
    mark = f"HOLDFAST_TOKEN={run.token}" if run is not None and run.token else f"HOLDFAST_SLOT={slot}"
    return not any(
        procfs.writes_to(pid, pipe) or mark.encode() in (procfs.read(f"/proc/{pid}/environ") or b"").split(b"\0")
        for pid in procfs.pids()
    )


def failure(doing: str, error: OSError) -> TransientError:
    """What to say of an error of the system, and what to do next."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return TransientError(Reason.DiskFull, f"cannot {doing}: no space left on the disk; free some")
        case errno.EMFILE | errno.ENFILE:
            return TransientError(Reason.StartFailed, f"cannot {doing}: too many open files; raise LimitNOFILE")
        case errno.EAGAIN | errno.ENOMEM:
            return TransientError(Reason.StartFailed, f"cannot {doing}: no room for another process; end some")
        case _:
            return TransientError(Reason.StartFailed, f"cannot {doing}: {(error.strerror or str(error)).lower()}")


def _write_beside(path: str, data: bytes) -> None:
    try:
        _write(f"{path}/launch.tmp", data)
    except OSError:
        discard(path, fresh=False)
        raise


def _mkdir(path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
