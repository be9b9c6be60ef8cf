"""Whether a descriptor can be read."""

import errno
import os
import resource

import pytest

from reconciler.ready import readable


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_was_written_can_be_read_and_what_was_not_is_waited_for(pipe):
    assert not readable(pipe[0], 0.01)
    os.write(pipe[1], b"x")
    assert readable(pipe[0], 60)
    assert readable(pipe[0], -1), "a time that is over is none"


def test_an_end_is_something_to_read():
    read, write = os.pipe()
    os.close(write)
    assert readable(read, 60)
    os.close(read)


def test_a_descriptor_may_have_any_number(pipe):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        os.dup2(pipe[0], 2000)
        try:
            assert not readable(2000, 0)
            os.write(pipe[1], b"x")
            assert readable(2000, 60)
        finally:
            os.close(2000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_that_is_not_open_is_said():
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        readable(read, 0)
    assert raised.value.errno == errno.EBADF
