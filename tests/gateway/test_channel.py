"""Frames between master and worker: whole, in order, with what is passed, and never waiting for the other end."""

import asyncio
import os
import socket

import pytest

from reconciler.gateway.channel import Channel, Kind, pair
from tests.eventually import eventually_async
from tests.gateway.on_loop import on_loop


class End:
    """One end, and what came to it."""

    def __init__(self, end: socket.socket) -> None:
        self.came: list[tuple[Kind, bytes, list[int]]] = []
        self.over = 0
        self.channel = Channel(end, asyncio.get_running_loop(), self._received, self._ended)

    def _received(self, kind: Kind, payload: bytes, descriptors: list[int]) -> None:
        self.came.append((kind, payload, descriptors))

    def _ended(self) -> None:
        self.over += 1


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


@on_loop
async def test_frames_come_whole_and_in_order_however_long_they_are():
    one, other = map(End, pair())
    sent = [bytes([number]) * size for number, size in enumerate((0, 1, 65536, 65537, 3_000_000, 5))]
    before = opened()
    for payload in sent:
        one.channel.send(Kind.TABLE, payload)
    await eventually_async(lambda: len(other.came) == len(sent))
    assert [payload for _, payload, _ in other.came] == sent
    assert opened() == before, "memory beside a frame is let go"
    one.channel.close()
    other.channel.close()


@on_loop
async def test_what_the_other_end_does_not_read_waits_and_comes_later():
    ours, its = pair()
    one = End(ours)
    for number in range(300):
        one.channel.send(Kind.DEMAND, b"%d " % number * 500)
    assert not one.channel.flushed
    other = End(its)
    await eventually_async(lambda: len(other.came) == 300)
    assert [payload.split()[0] for _, payload, _ in other.came] == [b"%d" % number for number in range(300)]
    assert one.channel.flushed
    one.channel.close()
    other.channel.close()


@on_loop
async def test_descriptors_are_passed_with_their_frame_and_are_the_receivers():
    one, other = map(End, pair())
    reading, writing = os.pipe()
    one.channel.send(Kind.LISTEN, b"x" * 100_000, [writing, reading])
    os.close(writing)
    os.close(reading)
    await eventually_async(lambda: other.came)
    _, payload, (its_writing, its_reading) = other.came[0]
    os.write(its_writing, b"hello")
    assert os.read(its_reading, 5) == b"hello"
    assert len(payload) == 100_000
    assert not os.get_inheritable(its_reading)
    for each in (its_reading, its_writing):
        os.close(each)
    one.channel.close()
    other.channel.close()


@on_loop
async def test_descriptors_of_a_frame_that_waits_may_be_closed_meanwhile():
    ours, its = pair()
    one = End(ours)
    reading, writing = os.pipe()
    while one.channel.flushed:
        one.channel.send(Kind.DEMAND, b"x" * 60_000)
    one.channel.send(Kind.LISTEN, b"", [reading])
    os.close(reading)
    os.write(writing, b"still there")
    other = End(its)
    await eventually_async(lambda: other.came and other.came[-1][0] is Kind.LISTEN)
    assert os.read(other.came[-1][2][0], 20) == b"still there"
    for each in (writing, other.came[-1][2][0]):
        os.close(each)
    one.channel.close()
    other.channel.close()


@on_loop
async def test_the_end_of_one_is_told_to_the_other_once_after_its_last_words():
    one, other = map(End, pair())
    one.channel.send(Kind.LAST, b"bye")
    one.channel.close()
    await eventually_async(lambda: other.over)
    other.channel.send(Kind.PING)
    other.channel.receive()
    assert (other.over, [kind for kind, *_ in other.came]) == (1, [Kind.LAST])


@on_loop
async def test_a_kind_of_another_version_is_passed_over():
    ours, its = pair()
    other = End(its)
    ours.send(b"\xee\x00whatever")
    one = End(ours)
    one.channel.send(Kind.PING)
    await eventually_async(lambda: other.came)
    assert other.came == [(Kind.PING, b"", [])]
    one.channel.close()
    other.channel.close()


async def _nothing():
    pass


@pytest.fixture(autouse=True)
def nothing_left_open():
    """What a test opens, it closes."""
    on_loop(_nothing)()  # the first loop of a process keeps descriptors for all others
    before = opened()
    yield
    assert opened() == before
