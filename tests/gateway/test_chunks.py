"""A stream's chunks need no parser where each comes alone: what is passed on is the same, however they come."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.gateway.places import Live
from reconciler.gateway.upstream import Upstream
from reconciler.model.routing import Place

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass
class Asked:
    """An exchange that keeps what it gets."""

    got: bytes = b""
    alone: list[bytes] = field(default_factory=list[bytes])
    """Chunks that no parser saw."""
    over: int = 0
    why: str = ""
    holds = False

    def answered(self, upstream: Upstream) -> None:
        """Its head is there."""

    def flush(self) -> None:
        """Nothing waits."""

    def piece(self, piece: bytes) -> None:
        self.got += piece

    def pass_event(self, chunk: bytes, carried: bytes) -> None:
        self.alone.append(chunk)
        self.got += carried

    def complete(self) -> None:
        self.over += 1

    def failed(self, why: str, *, said: bool) -> None:
        self.why = why


class Wire:
    def abort(self) -> None:
        """It is gone."""


def told(pieces: Iterable[bytes], head: bytes = HEAD) -> Asked:
    """What comes of a stream that is read in these pieces after its head."""
    asked = Asked()
    live = Live(Place(slot="chat/0", run=1, address="http://127.0.0.1:1", names=("chat",)), 0, 0.0)
    upstream = Upstream(live, cast("Any", asked))
    upstream.transport = cast("Any", Wire())
    for piece in (head, *pieces):
        if piece and upstream.exchange is not None and not asked.over:
            upstream.data_received(piece)
    return asked


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


sizes = st.sampled_from((1, 2, 15, 16, 17, 255, 256, 300, 4095, 4096, 17000))


@given(st.lists(sizes, max_size=6), st.lists(st.integers(0, 40000), max_size=8), st.booleans())
@example([15, 16, 255, 256], [], True)
def test_the_same_comes_out_however_it_is_read(lengths: list[int], cuts: list[int], whole: bool) -> None:
    carried = [bytes([65 + n]) * size for n, size in enumerate(lengths)]
    stream = b"".join(map(chunk, carried)) + b"0\r\n\r\n"
    at = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(at)]
    if whole:
        pieces = [*map(chunk, carried), b"0\r\n\r\n"]
    found = told(pieces)
    assert (found.got, found.over, found.why) == (b"".join(carried), 1, "")
    if whole:
        assert found.alone == [one for one in map(chunk, carried[1:]) if len(one) < 16384]


@pytest.mark.parametrize(
    ("pieces", "alone"),
    [
        ([b"3\r\nabc\r\n", b"3\r\nde", b"f\r\n", b"3\r\nghi\r\n"], 1),
        ([b"3\r\nabc\r\n", b"1", b"0\r\n0123456789abcdef\r\n"], 0),
        ([b"3\r\nabc\r\n", b"8\r", b"\n3\r\nabc\r\n\r\n"], 0),
        ([b"3\r\nabc\r\n", b"8\r\n", b"3\r\nabc\r\n", b"\r\n"], 0),
        ([b"3\r\nabc\r\n", b"A\r\n0123456789\r\n", b"a\r\n0123456789\r\n"], 1),
        ([b"3\r\nabc\r\n1", b"3\r\nabc\r\n", b"01234567890123\r\n"], 0),
        ([b"3\r\nabc\r\n", b"3;x=y\r\nabc\r\n"], 0),
    ],
)
def test_only_a_chunk_that_begins_where_the_last_one_ended_is_taken_for_one(pieces: list[bytes], alone: int) -> None:
    found = told([*pieces, b"0\r\n\r\n"])
    assert (len(found.alone), found.over, found.why) == (alone, 1, "")
    assert found.got == told([b"".join(pieces) + b"0\r\n\r\n"]).got


@pytest.mark.parametrize(
    "bad", [b"4\r\nabc\r\n", b"-3\r\nabc\r\n", b"zz\r\nabc\r\n", b"+3\r\nabc\r\n", b"3\r\nabcd\r\n", b"3\r\nabcde"]
)
def test_what_is_no_chunk_is_seen_all_the_same(bad: bytes) -> None:
    found = told([chunk(b"one"), chunk(b"two"), bad, b"0\r\n\r\n"])
    assert found.why or not found.over
    assert found.got[:6] == b"onetwo"


def test_a_body_that_is_no_stream_is_left_to_the_parser() -> None:
    found = told([chunk(b"one"), chunk(b"two"), b"0\r\n\r\n"], HEAD.replace(b"text/event-stream", b"application/json"))
    assert (found.got, found.alone, found.over) == (b"onetwo", [], 1)
