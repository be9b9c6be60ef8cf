"""Workers of the program before an exec, taken over by the one after it."""

import asyncio
import os
import signal
import subprocess

import pytest

from reconciler.gateway.board import Board
from reconciler.gateway.channel import Channel, Kind, pair
from reconciler.gateway.handover import OldWorker
from reconciler.gateway.workers import Workers
from reconciler.model.routing import Wanted
from tests.eventually import eventually_async
from tests.gateway.on_loop import on_loop

WANTS = {"chat": Wanted(waiting=1, in_flight={"chat/0": 2})}


@pytest.fixture
def child():
    """A process of ours in the place of a worker: its pid. Whoever watches it reaps it."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process.pid
    process.kill()
    process.wait()


def taking_over(board: Board, pid: int, channel: int, *, drains: bool = False) -> Workers:
    workers = Workers(board=board, options=(), environment={}, changed=lambda _: None, scrape=lambda *_: None)
    workers.adopt([OldWorker(pid=pid, slot=0, column=1, channel=channel, seen=("e", 7), wants=WANTS, drains=drains)])
    return workers


@on_loop
async def test_what_their_clients_want_is_known_though_they_say_nothing_new(child):
    ours, its = pair()
    workers = taking_over(Board.create(3), child, ours.detach())
    [worker] = workers.all
    assert (worker.wants, worker.seen, worker.old) == (WANTS, ("e", 7), True)
    [handed] = workers.handed_over()
    assert (handed.pid, handed.wants, handed.seen) == (child, WANTS, ("e", 7))
    came: list[Kind] = []
    channel = Channel(its, asyncio.get_running_loop(), lambda kind, *_: came.append(kind), lambda: None)
    workers.end()
    await eventually_async(lambda: came == [Kind.DRAIN])
    os.kill(child, signal.SIGKILL)
    await eventually_async(workers.none.is_set)
    channel.close()


@on_loop
async def test_what_one_had_in_flight_is_nobodys_once_it_is_gone(child):
    ours, its = pair()
    board = Board.create(3)
    Board.open(board.descriptor, 1).add(5, 3)
    workers = taking_over(board, child, ours.detach())
    assert board.total(5) == 3
    os.kill(child, signal.SIGKILL)
    await eventually_async(workers.none.is_set)
    assert board.total(5) == 0
    its.close()


@on_loop
async def test_one_that_ended_between_the_programs_is_noticed(child):
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    ours, its = pair()
    board = Board.create(3)
    Board.open(board.descriptor, 1).add(5, 3)
    workers = taking_over(board, child, ours.detach())
    await eventually_async(workers.none.is_set)
    assert board.total(5) == 0
    its.close()


@pytest.mark.parametrize(
    ("drains", "asks", "said"),
    [
        (True, True, "INFO worker 0 (pid PID) has finished"),
        (True, False, "ERROR worker 0 (pid PID) has ended before it had finished (by signal SIGKILL)"),
        (False, True, "ERROR worker 0 (pid PID) has ended unasked (with status 0); another takes its place"),
    ],
)
@on_loop
async def test_what_its_end_was_is_said_over_programs_too(caplog, drains: bool, asks: bool, said: str):
    """One that was told to drain before one exec ends after it, or after the next: nobody is to be alarmed."""
    caplog.set_level("INFO")
    ours, its = pair()
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    before = taking_over(Board.create(3), process.pid, ours.detach(), drains=drains)
    [handed] = before.handed_over()
    assert handed.drains == drains
    assert process.stdin is not None
    process.stdin.close() if asks else process.kill()
    await eventually_async(before.none.is_set)
    (record,) = caplog.records
    assert f"{record.levelname} {record.getMessage()}" == said.replace("PID", str(process.pid))
    process.wait()
    its.close()
