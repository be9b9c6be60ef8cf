"""Bodies: as they came, in constant memory, and nothing left behind."""

import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.body import IN_MEMORY, Body, Edited, Spool

KIB = 1024


def fed(spool: Spool, *pieces: bytes) -> Body:
    body = Body(spool)
    for piece in pieces:
        assert body.feed(piece) is None
    return body


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_small_body_of_one_piece_is_the_very_object_that_came(tmp_path: Path):
    piece = bytes(range(256))
    body = fed(Spool(str(tmp_path)), piece)
    assert body.content is piece
    assert next(body.pieces()) is piece
    body.close()


def test_an_empty_body_has_nothing_to_send(tmp_path: Path):
    body = Body(Spool(str(tmp_path)))
    assert body.content == b""
    assert b"".join(body.pieces()) == b""


@pytest.mark.parametrize("sizes", [[1, 2, 3], [IN_MEMORY], [IN_MEMORY, 1], [300 * KIB], [100 * KIB] * 20, [1] * 5000])
def test_what_is_sent_is_what_came(tmp_path: Path, sizes: list[int]):
    spool, before = Spool(str(tmp_path)), files()
    pieces = [os.urandom(size) for size in sizes]
    body = fed(spool, *pieces)
    whole = b"".join(pieces)
    assert body.size == len(whole)
    assert body.content[:] == whole
    assert b"".join(body.pieces(1000)) == whole
    assert max(len(piece) for piece in body.pieces(1000)) <= 1000
    assert spool.used == (len(whole) if len(whole) > IN_MEMORY else 0)
    assert list(tmp_path.iterdir()) == []
    body.close()
    body.close()
    assert (spool.used, files()) == (0, before)


def test_one_byte_too_many_for_all_is_refused_and_gives_everything_back(tmp_path: Path):
    spool, before = Spool(str(tmp_path), limit=700 * KIB), files()
    first = fed(spool, b"x" * 400 * KIB)
    second = Body(spool)
    assert second.feed(b"y" * 300 * KIB) is None
    refused = second.feed(b"y")
    assert refused is not None
    assert (refused.status, refused.closes) == (503, True)
    assert spool.used == 400 * KIB
    third = fed(spool, b"z" * 300 * KIB)
    for body in (first, second, third):
        body.close()
    assert (spool.used, files()) == (0, before)


def test_a_disk_that_does_not_take_it_is_a_refusal_in_words(tmp_path: Path):
    spool, before = Spool(str(tmp_path / "gone")), files()
    body = fed(spool, b"x" * IN_MEMORY)
    refused = body.feed(b"x")
    assert refused is not None
    assert refused.status == 503
    assert "No such file or directory" in refused.message
    assert str(tmp_path) not in refused.message
    assert (spool.used, files(), body.size) == (0, before, 0)


def test_a_full_disk_is_a_refusal_in_words():
    spool, before = Spool("/dev/shm"), files()  # where the limit of a file's size is met as a full disk would be
    body = fed(spool, b"x" * 300 * KIB)
    with Full(body):
        refused = body.feed(b"x" * 64)
    assert refused is not None
    assert refused.status == 503
    assert "No space left on device" in refused.message
    assert (spool.used, files()) == (0, before)


class Full:
    """The file of a body, on a disk that is full: `/dev/full` under its descriptor."""

    def __init__(self, body: Body) -> None:
        self._file = body._file

    def __enter__(self) -> None:
        assert self._file is not None
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, self._file.fileno())
        os.close(full)

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        assert self._file.closed


@given(
    whole=st.binary(min_size=8, max_size=64),
    size=st.integers(1, 70),
    large=st.booleans(),
    cuts=st.lists(st.tuples(st.integers(0, 8), st.binary(max_size=5)), max_size=3),
)
def test_edits_change_these_bytes_and_no_others(whole: bytes, size: int, large: bool, cuts: list[tuple[int, bytes]]):
    """Each of `cuts`: so many bytes are replaced, one byte after the last."""
    body = fed(Spool("/dev/shm"), whole + (b"-" * IN_MEMORY if large else b""))
    edits, at, expected = [], 0, b""
    content = body.content[:]
    for length, new in cuts:
        start = at + 1
        edits.append((start, start + length, new))
        expected += content[at:start] + new
        at = start + length
    expected += content[at:]
    if at <= len(content):
        edited = Edited(body, edits)
        assert edited.content == expected
        assert edited.size == len(expected)
        assert b"".join(edited.pieces(size * 997)) == expected
        assert all(edited.pieces(size * 997))
    body.close()


def test_a_body_in_crumbs_takes_the_memory_of_one(tmp_path: Path) -> None:
    body = Body(Spool(str(tmp_path)))
    tracemalloc.start()
    try:
        for _ in range(IN_MEMORY // 2):
            body.feed(bytes((1, 2)))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 2 * IN_MEMORY
    assert body.content == bytes((1, 2)) * (IN_MEMORY // 2)
