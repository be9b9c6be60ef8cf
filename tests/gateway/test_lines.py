"""Lines of several processes that share a pipe stay whole, and nobody who writes them waits for who reads them."""

import os

import pytest

from reconciler.gateway.lines import Lines, pieces
from tests.eventually import eventually


@pytest.mark.parametrize(
    ("lines", "sizes"),
    [
        (b"", []),
        (b"a\n", [2]),
        (b"x" * 4095 + b"\n" + b"y\n", [4096, 2]),
        (b"x" * 2000 + b"\n" + b"y" * 2000 + b"\n" + b"z" * 2000 + b"\n", [4002, 2001]),
        (b"x" * 9000 + b"\n" + b"y\n", [9001, 2]),
    ],
    ids=["none", "one", "just one page", "whole lines", "one that is too long"],
)
def test_a_piece_ends_with_a_line(lines, sizes):
    assert [len(piece) for piece in pieces(lines)] == sizes
    assert b"".join(pieces(lines)) == lines


def test_what_cannot_be_written_is_counted_and_harms_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    lines = Lines(writer)
    assert lines.put(b"a\nb\n")
    assert lines.put(b"c\n")
    lines.close(10.0)
    assert lines.lost == 3
    os.close(writer)


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    lines, sent = Lines(writer), b"".join(b"%07d\n" % number for number in range(40_000))
    assert lines.put(sent)
    found = b""
    while len(found) < len(sent):
        found += os.read(reader, 65536)
    lines.close(10.0)
    assert (found, lines.lost) == (sent, 0)
    os.close(reader)
    os.close(writer)


def test_whoever_hands_lines_over_does_not_wait():
    reader, writer = os.pipe()
    lines = Lines(writer, room=100_000)
    assert lines.put(b"x" * 99_999 + b"\n")
    assert not lines.put(b"y\n")
    read = b""
    while len(read) < 100_000:
        read += os.read(reader, 65536)
    eventually(lambda: lines.put(b"z\n"))
    lines.close(10.0)
    os.close(reader)
    os.close(writer)
