"""What the history promises: durable, in order, never in the way, and never the fleet's problem."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.model.status import Event, Reason
from reconciler.store import database
from reconciler.store.events import Events
from tests.eventually import eventually, eventually_async


def event(number: int, subject: str = "chat/0") -> Event:
    return Event(at=1000.0 + number, severity="info", subject=subject, reason=Reason.NotRunning, message=f"n {number}")


def messages(events: Events, seq: int = 0) -> list[str]:
    return [one.message for one in events.since(seq)]


@contextlib.contextmanager
def opened(path: Path, **settings):
    events = Events(str(path), **settings)
    try:
        yield events
    finally:
        events.close(timeout=60)


def test_events_get_growing_numbers_and_are_there_after_a_restart(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as events:
        events.append([event(1), event(2)])
        events.append([event(3)])
        assert events.flush()
        assert [(one.seq, one.message) for one in events.since(0)] == [(1, "n 1"), (2, "n 2"), (3, "n 3")]
        assert messages(events, 2) == ["n 3"]
        assert [one.seq for one in events.since(0, limit=1)] == [1]
        assert [one.seq for one in events.since(0, limit=2, newest=True)] == [2, 3]
    with opened(path) as events:
        assert events.since(2) == [
            Event(seq=3, at=1003.0, severity="info", subject="chat/0", reason=Reason.NotRunning, message="n 3")
        ]
        events.append([event(4)])
        assert events.flush()
        assert events.last == 4


def test_the_file_is_for_its_owner_only(tmp_path):
    with opened(tmp_path / "events.db"):
        assert (tmp_path / "events.db").stat().st_mode & 0o777 == 0o600


def test_a_workload_s_events_are_its_own_and_its_slots_and_no_namesake_s(tmp_path):
    with opened(tmp_path / "events.db") as events:
        subjects = ["chat", "chat/0", "chat/11", "chat-two/0", "chats", "daemon", "cha"]
        events.append([event(i, subject) for i, subject in enumerate(subjects)])
        events.flush()
        assert [one.subject for one in events.since(0, subject="chat")] == ["chat", "chat/0", "chat/11"]
        assert [one.subject for one in events.since(0, subject="chat/0")] == ["chat/0"]


def test_whoever_appends_never_waits_while_the_disk_does_not_answer(tmp_path):
    """Another process holds the file locked: the writer waits, the loop does not, and nothing is shown early."""
    path = tmp_path / "events.db"
    with opened(path) as events:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        appended = threading.Thread(target=lambda: [events.append([event(i)]) for i in range(500)])
        appended.start()
        appended.join(60)
        assert not appended.is_alive()
        assert events.last == 0
        eventually(lambda: events.degraded)
        other.execute("ROLLBACK")
        other.close()
        assert events.flush(60)
        eventually(lambda: events.degraded is None)
        assert messages(events)[:500] == [f"n {i}" for i in range(500)]


def test_an_event_is_shown_to_followers_once_it_is_on_disk(tmp_path):
    path = tmp_path / "events.db"

    async def scenario() -> None:
        with opened(path) as events, contextlib.closing(sqlite3.connect(path)) as another:
            seen: list[Event] = []

            async def read() -> None:
                async for one in events.follow(0):
                    on_disk = another.execute("SELECT max(seq) FROM events").fetchone()[0]
                    assert on_disk >= one.seq
                    seen.append(one)

            task = asyncio.create_task(read())
            events.append([event(i) for i in range(3)])
            await eventually_async(lambda: len(seen) == 3)
            events.append([event(i) for i in range(3, 3000)])
            await eventually_async(lambda: len(seen) == 3000 or task.done())
            assert [one.seq for one in seen] == list(range(1, 3001))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not events._followers

    asyncio.run(scenario())


def test_a_follower_resumes_where_it_was_and_one_from_a_lost_history_gets_what_is_new(tmp_path):
    async def first(events: Events, seq: int) -> int:
        async for one in events.follow(seq):
            return one.seq
        return 0

    async def scenario() -> None:
        with opened(tmp_path / "events.db") as events:
            events.append([event(i) for i in range(10)])
            events.flush()
            assert await first(events, 4) == 5
            late = asyncio.create_task(first(events, 7_000))
            await eventually_async(lambda: events._followers)
            events.append([event(11)])
            assert await asyncio.wait_for(late, 60) == 11

    asyncio.run(scenario())


def test_nothing_is_written_while_nothing_is_appended(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as events:
        events.append([event(1)])
        events.flush()
        before = {name: os.stat(tmp_path / name).st_mtime_ns for name in os.listdir(tmp_path)}
        written = io_written()
        for _ in range(50):
            events.since(0)
            events.append([])
        assert io_written() == written
        assert {name: os.stat(tmp_path / name).st_mtime_ns for name in os.listdir(tmp_path)} == before


def io_written() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def test_only_so_many_events_are_kept(tmp_path):
    with opened(tmp_path / "events.db", kept=1000) as events:
        for start in range(0, 4000, 500):
            events.append([event(i) for i in range(start, start + 500)])
            assert events.flush()
        kept = events.since(0, limit=10_000)
        assert 1000 <= len(kept) <= 2500
        assert kept[-1].seq == 4000


BROKEN = {
    "text": b"this is not a database, it is a sentence" * 50,
    "zeros": bytes(8192),
    "short": b"SQLite",
    "header only": b"SQLite format 3\0",
}


def assert_begun_anew(path: Path) -> str:
    """New events are written and read, and the old file is kept; the sentence about it."""
    with opened(path) as events:
        events.append([event(7)])
        assert events.flush(60)
        assert events.degraded is None
        said = [one for one in events.since(0) if one.reason is Reason.Recovered]
        assert "n 7" in messages(events)
        assert [(one.severity, one.subject) for one in said] == [("warning", "daemon")]
        assert path.with_name(f"{path.name}.broken-1").exists()
        return said[0].message


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_database_is_set_aside_and_said(tmp_path, content):
    path = tmp_path / "events.db"
    path.write_bytes(content)
    assert "events.db.broken-1" in assert_begun_anew(path)
    assert (tmp_path / "events.db.broken-1").read_bytes() == content


def filled(path: Path, number: int = 300) -> bytes:
    with opened(path) as events:
        events.append([event(i) for i in range(number)])
        assert events.flush()
    return path.read_bytes()


def test_a_truncated_file_is_set_aside(tmp_path):
    path = tmp_path / "events.db"
    content = filled(path)
    path.write_bytes(content[: len(content) // 2])
    assert_begun_anew(path)


def test_damage_in_the_middle_is_found_when_the_file_is_opened(tmp_path):
    """Not years later, when somebody asks for that day."""
    path = tmp_path / "events.db"
    content = bytearray(filled(path, 2000))
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)
    assert "damaged" in assert_begun_anew(path)


def test_a_log_left_by_a_file_that_is_gone_is_not_played_into_the_next(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as events:
        events.append([event(i) for i in range(300)])
        assert events.flush()
        left = path.with_name("events.db-wal").read_bytes()
    assert left
    path.unlink()
    path.with_name("events.db-wal").write_bytes(left)
    with opened(path) as events:
        events.append([event(7)])
        assert events.flush()
        assert messages(events) == ["n 7"]


def test_text_that_is_none_is_read_as_well_as_can_be(tmp_path):
    path = tmp_path / "events.db"
    filled(path, 3)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE events SET message = CAST(X'ff6f6b' AS TEXT), reason = 'FromTheFuture' WHERE seq = 2"
        )
        connection.commit()
    with opened(path) as events:
        assert messages(events) == ["n 0", "\ufffdok", "n 2"]
        assert events.since(1)[0].reason is Reason.Unknown


def test_what_sqlite_says_of_a_damaged_name_is_no_reason_to_fall(tmp_path):
    path = tmp_path / "events.db"
    filled(path, 3)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET name = CAST(X'80' AS TEXT), tbl_name = CAST(X'80' AS TEXT)")
        connection.commit()
    assert_begun_anew(path)


def test_each_commit_waits_for_the_disk(tmp_path):
    """What cannot be seen without pulling the plug: that SQLite was told to."""
    with opened(tmp_path / "events.db") as events:
        connection = events._opened.connection  # pyright: ignore[reportOptionalMemberAccess]
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("kind", ["newer version", "another program's", "without its table", "other columns"])
def test_a_database_that_is_not_of_this_version_is_set_aside(tmp_path, kind):
    path = tmp_path / "events.db"
    filled(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        match kind:
            case "newer version":
                connection.execute("PRAGMA user_version = 99")
            case "another program's":
                connection.execute("PRAGMA application_id = 7")
            case "without its table":
                connection.execute("DROP TABLE events")
            case _:
                connection.execute("ALTER TABLE events DROP COLUMN message")
    said = assert_begun_anew(path)
    if kind == "newer version":
        assert "version 99" in said


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_file_is_set_aside(tmp_path, kind):
    path = tmp_path / "events.db"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    assert_begun_anew(path)


def test_only_the_newest_broken_files_are_kept(tmp_path):
    path = tmp_path / "events.db"
    for i in range(7):
        path.write_bytes(b"junk %d" % i * 100)
        with opened(path) as events:
            assert events.flush()
    kept = sorted(name for name in os.listdir(tmp_path) if "broken" in name and name[-1].isdigit())
    assert kept == ["events.db.broken-5", "events.db.broken-6", "events.db.broken-7"]


def test_a_file_that_breaks_in_use_is_set_aside_and_the_numbers_go_on(tmp_path):
    path = tmp_path / "events.db"
    with opened(path) as events:
        events.append([event(i) for i in range(2000)])
        assert events.flush()
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(path, "r+b") as file:
            size = file.seek(0, 2)
            file.seek(100)
            file.write(b"\xff" * (size - 100))
        events.since(0)
        events.append([event(5000)])
        assert events.flush()
        eventually(lambda: path.with_name("events.db.broken-1").exists())
        assert events.flush()
        assert events.degraded is None
        assert "n 5000" in messages(events)
        assert events.since(0)[0].seq > 2000


@pytest.mark.parametrize("companions", [True, False], ids=["all its files", "the file alone"])
def test_deleting_the_history_loses_history_and_nothing_else(tmp_path, companions):
    path = tmp_path / "events.db"
    with opened(path) as events:
        events.append([event(1)])
        assert events.flush()
        for name in os.listdir(tmp_path) if companions else ["events.db"]:
            os.unlink(tmp_path / name)
        events.append([event(2)])
        assert events.flush()
        assert [(one.seq, one.message) for one in events.since(0)] == [(2, "n 2")]


def test_a_column_whose_name_is_no_text_any_more_is_damage_like_any_other(tmp_path):
    path = tmp_path / "events.db"
    content = filled(path, 5)
    path.write_bytes(content.replace(b"message TEXT", b"messa\xa7e TEXT"))
    with opened(path) as events:
        events.append([event(9)])
        assert events.flush()
        assert "n 9" in messages(events)
        assert path.with_name("events.db.broken-1").exists()


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> bytes:
    return filled(tmp_path_factory.mktemp("good") / "events.db", 120)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=64)), min_size=1, max_size=8
    ),
    keep=st.floats(0, 1),
    cut=st.booleans(),
)
def test_no_bytes_in_the_file_stop_new_events_from_being_kept(tmp_path_factory, sample, edits, keep, cut):
    path = tmp_path_factory.mktemp("mutated") / "events.db"
    content = bytearray(sample)
    for where, data in edits:
        at = int(where * len(content))
        content[at : at + len(data)] = data
    path.write_bytes(content[: int(len(content) * keep)] if cut else content)
    with opened(path) as events:
        events.since(0)
        events.append([event(9001)])
        assert events.flush(60)
        assert events.flush(60)
        assert events.degraded is None
        newest = events.since(max(0, events.last - 5))
        assert "n 9001" in [one.message for one in newest]
        for one in newest:
            assert isinstance(one.at, float)
            assert isinstance(one.message, str)


def test_older_versions_are_brought_up_to_date_with_what_they_hold(tmp_path):
    path = str(tmp_path / "any.db")
    first = ("CREATE TABLE a (x INTEGER)",)
    with contextlib.closing(database.open_database(path, first).connection) as connection:
        connection.execute("INSERT INTO a VALUES (42)")
    second = (*first, "ALTER TABLE a ADD COLUMN y TEXT DEFAULT 'new'; CREATE INDEX a_x ON a (x)")
    with contextlib.closing(database.open_database(path, second).connection) as connection:
        assert connection.execute("SELECT x, y FROM a").fetchall() == [(42, "new")]
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    with pytest.raises(database.UnusableError, match="version 2"):
        database.open_database(path, first)


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path):
    path = str(tmp_path / "any.db")
    first = ("CREATE TABLE a (x INTEGER)",)
    database.open_database(path, first).connection.close()
    with pytest.raises(sqlite3.Error):
        database.open_database(path, (*first, "CREATE TABLE b (y TEXT); CREATE NONSENSE"))
    with contextlib.closing(database.open_database(path, first).connection) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'b'").fetchone() == (0,)


def test_more_events_than_may_wait_are_dropped_counted_and_said(tmp_path):
    directory = tmp_path / "state"
    said: list[str | None] = []
    with opened(directory / "events.db", waiting=100, on_degraded=said.append) as events:
        eventually(lambda: events.degraded)
        events.append([event(i) for i in range(250)])
        assert "100 events wait, 150 were dropped" in (events.degraded or "")
        directory.mkdir()
        eventually(lambda: events.degraded is None)
        assert events.flush()
        assert messages(events) == [
            *(f"n {i}" for i in range(150, 250)),
            "the history can be written again; 150 events were dropped in the meantime",
        ]
        assert said[0] is not None
        assert said[-1] is None


FULL = """
import os, subprocess, sys
from reconciler.model.status import Event, Reason
from reconciler.store.events import Events
from tests.eventually import eventually

root = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", root], check=True)
def event(i): return Event(at=1.0, severity="info", subject="chat/0", reason=Reason.Exited, message=f"{i} " + "x" * 200)
events = Events(root + "/events.db")
events.append([event(0)])
assert events.flush(60)
with open(root + "/ballast", "wb", buffering=0) as ballast:
    try:
        while True: ballast.write(bytes(4096))
    except OSError: pass
sent = 1
while events.degraded is None and sent < 3000:
    events.append([event(i) for i in range(sent, sent + 50)])
    sent += 50
    events.flush(0.2)
assert "full" in (eventually(lambda: events.degraded)), events.degraded
durable = events.last
assert durable < sent
os.unlink(root + "/ballast")
subprocess.run(["mount", "-o", "remount,size=16m", root], check=True)
eventually(lambda: events.degraded is None)
assert events.flush(60)
numbers = [int(one.message.split()[0]) for one in events.since(0, limit=10_000) if one.reason is Reason.Exited]
assert numbers == list(range(sent)), (len(numbers), sent)
events.close()
print("kept all")
"""


def test_a_full_disk_delays_events_and_loses_none(tmp_path):
    """In a mount namespace of its own, on a file system that is really full."""
    argv = ["unshare", "--mount", "--map-root-user", sys.executable, "-c", FULL, str(tmp_path)]
    probe = subprocess.run(
        [*argv[:3], "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"cannot mount a file system here: {probe.stderr.decode().strip()}")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "kept all", done.stderr
