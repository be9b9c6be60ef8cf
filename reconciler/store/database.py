"""Opens an SQLite file that may be anything: ours and current, older, newer, broken, or not a database at all.

What cannot be used is set aside under another name, never repaired and never deleted at once.
"""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Sequence
from dataclasses import dataclass

APPLICATION = 0x486F6C64  # "Hold": tells our files from any other database
KEPT = 3
"""So many files that were set aside are kept; older ones are deleted, so that a bad disk cannot be filled with them."""

_BROKEN = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_SCHEMA,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A database that is ready for use."""

    connection: sqlite3.Connection
    inode: tuple[int, int]


class UnusableError(sqlite3.DatabaseError):
    """The file is there and is none of ours, or is broken. The message says which."""


ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises. The second comes of a message that names something in a damaged file."""


def broken(error: Exception) -> bool:
    """Whether an error tells that the file itself is bad: trying again would fail for ever."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, UnusableError | UnicodeDecodeError) or (code is not None and (code & 0xFF) in _BROKEN)


def open_database(path: str, migrations: Sequence[str]) -> Opened:
    """Open or create the database at `path`, at version `len(migrations)`.

    Raises UnusableError and other ERRORS that are `broken`; OSError and the other ERRORS where the disk says no (full,
    read-only): worth trying again.
    """
    return Opened(connection=_open(path, migrations), inode=inode(path))


def inode(path: str) -> tuple[int, int]:
    """What tells a file from another one of the same name. Raises OSError."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def set_aside(path: str) -> str:
    """Move a database and its companions to `<path>.broken-<n>`; the new name. Raises OSError."""
    directory, name = os.path.split(os.path.abspath(path))
    numbers = sorted(_numbers(directory, name))
    target = f"{path}.broken-{numbers[-1] + 1 if numbers else 1}"
    os.rename(path, target)
    for suffix in ("-wal", "-shm"):  # SQLite would play a log that was left behind into the new file
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + suffix, target + suffix)
    for number in numbers[: max(0, len(numbers) + 1 - KEPT)]:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{path}.broken-{number}{suffix}")
    return target


def lenient(raw: bytes) -> str:
    """Text of a database, for `text_factory`: damaged bytes are no reason to raise."""
    return raw.decode("utf-8", "replace")


def _sound(connection: sqlite3.Connection, migrations: Sequence[str]) -> bool:
    """Whether SQLite finds nothing wrong with the file, and its tables are those that these make. Raises ERRORS."""
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        return False
    with contextlib.closing(sqlite3.connect(":memory:")) as made:
        made.executescript(";".join(migrations))
        return _schema(connection) == _schema(made)


def _schema(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    # as bytes: one that is damaged may be no text at all, and every query would fail for a name in it
    rows = connection.execute("SELECT CAST(type AS BLOB), CAST(name AS BLOB), CAST(sql AS BLOB) FROM sqlite_schema")
    return sorted(rows.fetchall())


def _numbers(directory: str, name: str) -> list[int]:
    ends = (entry.removeprefix(f"{name}.broken-") for entry in os.listdir(directory) if entry.startswith(name))
    return [int(end) for end in ends if end.isascii() and end.isdigit()]


def _open(path: str, migrations: Sequence[str]) -> sqlite3.Connection:
    if os.path.lexists(path):
        # SQLite would wait for ever on a FIFO
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnusableError("it is no regular file")
    else:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    def pragma(name: str) -> int:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

    version, tables = pragma("user_version"), pragma("schema_version")
    if (version or tables) and pragma("application_id") != APPLICATION:
        raise UnusableError("it is a database of another program")
    if version > len(migrations) or version < 0:
        raise UnusableError(f"it is of version {version}, and this Holdfast reads up to {len(migrations)}")
    if version and not _sound(connection, migrations[:version]):
        raise UnusableError("its structure is damaged")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA trusted_schema = OFF")
    for number in range(version, len(migrations)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in migrations[number].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
