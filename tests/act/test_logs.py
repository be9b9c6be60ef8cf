"""What engines wrote is read back by lines, by runs, and followed through rotation."""

import asyncio
import time

import pytest

from reconciler.act import logfile, logs
from reconciler.act.logfile import PIECE, LogFile
from reconciler.act.logs import Reader
from reconciler.model.errors import ApiError
from reconciler.model.plan import Strikes
from tests.act.stage import comm, ended, launch, live, running, sh
from tests.eventually import eventually_async


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "logs" / "chat.0"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def reader(tmp_path):
    return Reader(str(tmp_path), pause=0.01)


def write(directory, run, data, piece=0):
    with (directory / f"{run}.{piece}.log").open("ab") as file:
        file.write(data)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(0, b""), (1, b"three\n"), (2, b"two\nthree\n"), (3, b"one\ntwo\nthree\n"), (9, b"one\ntwo\nthree\n")],
)
def test_the_last_lines_of_a_run(reader, directory, lines, expected):
    write(directory, 1, b"one\ntwo\nthree\n")
    assert reader.tail("chat", 0, 1, lines)[0] == expected


def test_an_unfinished_line_is_a_line(reader, directory):
    write(directory, 1, b"one\ntwo")
    assert reader.tail("chat", 0, 1, 1)[0] == b"two"


def test_the_last_lines_reach_into_the_piece_before(reader, directory):
    write(directory, 1, b"one\ntwo\n", piece=3)
    write(directory, 1, b"three\n", piece=4)
    assert reader.tail("chat", 0, 1, 2) == (b"two\nthree\n", 4 * PIECE + 6)


def test_endless_lines_are_read_up_to_a_bound(reader, directory):
    write(directory, 1, b"x" * (PIECE - 1) + b"\n")
    assert len(reader.tail("chat", 0, 1, 50)[0]) <= logs.MOST + logs.BLOCK


def test_reading_on_goes_through_rotation_and_misses_nothing(reader, directory):
    log = LogFile(str(directory), 1, clock=time.monotonic)
    got, sent, at = [], [], 0
    for index in range(3 * PIECE // 65536):
        chunk = (b"%06d " % index) * 9362 + b"\n"
        sent.append(chunk)
        log._budget = float(logfile.BURST)
        log.feed(bytearray(chunk), len(chunk))
        while (page := reader.page("chat", 0, 1, at=at)).data:
            got.append(page.data)
            at = page.at + len(page.data)
        assert page.end == page.at == at
    log.close()
    assert b"".join(got) == b"".join(sent)


def test_reading_back_from_the_end_gives_all_that_is_kept(reader, directory):
    kept = [b"%d\n" % piece * 40_000 for piece in range(3)]
    for piece, data in enumerate(kept, start=5):
        write(directory, 1, data, piece=piece)
    page = reader.page("chat", 0, 1)
    got = [page.data]
    while page.data:
        assert page.at // PIECE == (page.at + len(page.data) - 1) // PIECE, "a page lies in one piece"
        page = reader.page("chat", 0, 1, at=page.at, back=True, size=7000)
        got.append(page.data)
    assert b"".join(reversed(got)) == b"".join(kept)
    assert (page.first, page.at, page.end) == (5 * PIECE, 5 * PIECE, 7 * PIECE + 80_000)


def test_what_was_rotated_away_is_passed_by(reader, directory):
    write(directory, 1, b"old\n", piece=2)
    page = reader.page("chat", 0, 1, at=4)
    assert (page.first, page.at, page.data) == (2 * PIECE, 2 * PIECE, b"old\n")
    page = reader.page("chat", 0, 1, at=2 * PIECE, back=True)
    assert (page.first, page.at, page.data) == (2 * PIECE, 2 * PIECE, b"")


def test_an_address_at_which_nothing_lies_leads_to_what_lies_next(reader, directory):
    write(directory, 1, b"one\n", piece=0)
    write(directory, 1, b"", piece=1)
    write(directory, 1, b"two\n", piece=2)
    assert (page := reader.page("chat", 0, 1, at=4)).data == b"two\n"
    assert page.at == 2 * PIECE
    assert (page := reader.page("chat", 0, 1, at=2 * PIECE, back=True)).data == b"one\n"
    assert page.at == 0
    page = reader.page("chat", 0, 1, at=10**12)
    assert (page.at, page.data) == (page.end, b"")


def test_a_page_of_a_log_that_was_cut_short_comes_at_once(reader, directory):
    (directory / "1.0.log").write_bytes(b"one\n")
    page = asyncio.run(asyncio.wait_for(reader.page_soon("chat", 0, 1, at=100, back=False, size=9, wait=1000), 60))
    assert (page.data, page.end) == (b"", 4)


def test_a_page_waits_for_what_is_yet_to_be_written_unless_a_later_run_began(reader, directory):
    write(directory, 1, b"one\n")

    def soon(run, wait):
        return reader.page_soon("chat", 0, run, at=4, back=False, size=9, wait=wait)

    async def scene():
        assert (await soon(1, 0)).data == b""
        task = asyncio.create_task(soon(1, 60))
        await asyncio.sleep(0)
        write(directory, 1, b"two\n")
        assert (await task).data == b"two\n"
        write(directory, 2, b"three\n")
        task = asyncio.create_task(reader.page_soon("chat", 0, 1, at=8, back=False, size=9, wait=1000))
        assert (await asyncio.wait_for(task, 60)).newest == 2

    live(scene())


def test_a_reader_that_is_too_slow_is_told_of_the_gap(reader, directory):
    write(directory, 1, b"one\n")

    async def scene():
        stream = reader.stream("chat", 0, None, lines=5, follow=True)
        assert await anext(stream) == b"one\n"
        write(directory, 1, b"new\n", piece=2)
        (directory / "1.0.log").unlink()
        assert b"rotated away" in await anext(stream)
        assert await anext(stream) == b"new\n"
        await stream.aclose()

    live(scene())


async def collect(stream, enough):
    got = b""
    async with asyncio.timeout(60):
        async for data in stream:
            got += data
            if enough(got):
                break
    await stream.aclose()
    return got


def test_a_stream_ends_where_the_log_does_or_follows_into_later_runs(reader, directory):
    write(directory, 1, b"one\n")
    assert live_collect(reader.stream("chat", 0, None, lines=5, follow=False)) == b"one\n"

    async def scene():
        stream = reader.stream("chat", 0, None, lines=5, follow=True)
        task = asyncio.create_task(collect(stream, lambda got: b"two" in got))
        await asyncio.sleep(0)
        write(directory, 1, b"more\n")
        write(directory, 2, b"two\n")
        assert await task == b"one\nmore\ntwo\n"

    live(scene())


def live_collect(stream):
    return asyncio.run(collect(stream, lambda _: False))


def test_a_run_that_is_not_kept_is_refused_at_once_with_those_that_are(reader, directory):
    with pytest.raises(ApiError, match="none yet"):
        reader.stream("chat", 0, None, lines=5, follow=False)
    write(directory, 3, b"x\n")
    with pytest.raises(ApiError, match="choose one of 3") as caught:
        reader.stream("chat", 0, 9, lines=5, follow=True)
    assert caught.value.status == 404
    with pytest.raises(ApiError, match="first failure"):
        reader.stream("chat", 0, "first-failure", lines=5, follow=False)


def test_the_first_failure_of_a_series_stays_until_another_begins(stage):
    reader = Reader(str(stage.state))

    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh("echo the cause; exit 1")), {})
            await ended(runtime)
            for run in range(2, 9):
                strikes = Strikes(count=run - 1)
                await runtime.start(launch(run=run, argv=sh(f"echo result {run}; exit 1"), strikes=strikes), {})
                await ended(runtime)
            assert reader.first_failure("chat", 0) == 1
            assert reader.runs("chat", 0) == (1, 4, 5, 6, 7, 8)
            stream = reader.stream("chat", 0, "first-failure", lines=50, follow=False)
            assert await collect(stream, lambda _: False) == b"the cause\n"
            await runtime.start(launch(run=9, argv=sh("exit 1")), {})
            await ended(runtime)
            await eventually_async(lambda: reader.first_failure("chat", 0) == 9)

    live(scene())


def test_a_run_that_is_healthy_ends_the_series(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh("exit 1")), {})
            await ended(runtime)
            await runtime.start(launch(run=2, strikes=Strikes(count=1)), {})
            await runtime.update(launch(run=2))
            assert Reader(str(stage.state)).first_failure("chat", 0) is None

    live(scene())


def test_a_stop_that_was_asked_for_is_no_first_failure(stage):
    from reconciler.model.status import Reason

    async def scene():
        async with stage.runtime() as runtime:
            reader = Reader(str(stage.state))
            await runtime.start(launch(run=1), {})
            await runtime.stop("chat/0", 1, 5.0, Reason.SpecChanged)
            await runtime.start(launch(run=2), {})  # by now a first failure would have been marked
            assert reader.first_failure("chat", 0) is None
            await runtime.stop("chat/0", 2, 5.0, Reason.NeverReady)
            await eventually_async(lambda: reader.first_failure("chat", 0) == 2)

    live(scene())


def test_a_flood_neither_blocks_the_engine_nor_fills_the_disk(stage):
    flood = "head -c 100000000 /dev/zero | tr '\\0' 'x' | fold -w 999; echo done; exec sleep 1000"

    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh(flood)), {})
            reader = Reader(str(stage.state))
            pid = (await running(runtime)).pid
            await eventually_async(lambda: comm(pid) == "sleep", what="all of it was taken")

            def told():
                last = reader.tail("chat", 0, 1, 3)[0]
                return b"done" in last or b"dropped" in last

            await eventually_async(told, what="the log has its end")
            assert sum(path.stat().st_size for path in stage.logs().iterdir()) <= 2 * PIECE

    live(scene())
