"""The way to the daemon: tables as they come, reports on one connection, and words where it cannot be reached."""

import contextlib

import msgspec
import pytest

from reconciler.gateway.link import Link
from reconciler.model.errors import ApiError
from reconciler.model.routing import Report, Served, Table
from tests.gateway.control import control
from tests.gateway.on_loop import on_loop


@pytest.fixture
def daemon(tmp_path):
    with control(tmp_path / "s") as made:
        yield made


def big(seq: int) -> Table:
    """A table of more than a read's worth."""
    models = {
        f"m{n}": Served(name=f"m{n}", names=(f"m{n}",), engine="x", source="s" * 100, outlook="absent")
        for n in range(2000)
    }
    return Table(seq=seq, models=models)


@on_loop
async def test_tables_come_one_by_one_whatever_their_size(daemon):
    daemon.table(big(1))
    async with contextlib.aclosing(Link(daemon.path).tables()) as tables:
        for seq in (1, 2, 3):
            assert msgspec.json.decode(await anext(tables), type=Table).seq == seq
            daemon.table(big(seq + 1) if seq == 1 else Table(seq=seq + 1))
    assert daemon.hosts == {"localhost"}


@on_loop
async def test_a_daemon_that_ends_is_told_and_the_next_one_found(daemon):
    daemon.table(Table(seq=1))
    async with contextlib.aclosing(Link(daemon.path).tables()) as tables:
        await anext(tables)
        daemon.close()
        with pytest.raises(ApiError, match=f"daemon at {daemon.path}: it ended; start it with `holdfast up`"):
            await anext(tables)
    with pytest.raises(ApiError, match="cannot reach"):
        await Link(daemon.path).report(msgspec.json.encode(Report(gateway="g")))
    daemon.open()
    async with contextlib.aclosing(Link(daemon.path).tables()) as tables:
        assert msgspec.json.decode(await anext(tables), type=Table).seq == 1


@on_loop
async def test_reports_arrive_and_outlive_a_restart_of_the_daemon(daemon):
    link = Link(daemon.path)
    for seen in (1, 2):
        await link.report(msgspec.json.encode(Report(gateway="g", seen=seen)))
    daemon.close()
    daemon.open()
    with contextlib.suppress(ApiError):  # the connection that was kept is gone: it may be noticed late
        await link.report(msgspec.json.encode(Report(gateway="g", seen=3)))
    await link.report(msgspec.json.encode(Report(gateway="g", seen=4)))
    assert [one.seen for one in daemon.reports][:2] == [1, 2]
    assert daemon.reports[-1].seen == 4
    link.close()


@on_loop
async def test_a_daemon_of_another_version_is_told_as_that(daemon):
    with pytest.raises(ApiError, match="answered 400"):
        await Link(daemon.path).report(b"{}")


@on_loop
async def test_a_socket_with_a_long_path_is_found(tmp_path):
    place = tmp_path / ("x" * 100)
    place.mkdir()
    with control(tmp_path / "s") as made:
        (place / "socket").symlink_to(tmp_path / "s")
        made.table(Table(seq=5))
        async with contextlib.aclosing(Link(str(place / "socket")).tables()) as tables:
            assert msgspec.json.decode(await anext(tables), type=Table).seq == 5
