"""Addresses: open as declared, a socket for each worker, closed to others without keys, and told why where not."""

import os
import socket

import pytest

from reconciler.gateway.listening import Listening, parse


@pytest.fixture
def listening():
    made = Listening()
    yield made
    made.close()


@pytest.fixture
def free():
    """An address that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def answers(address: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", parse(address).port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "secure", "host", "port", "local"),
    [
        ("http://127.0.0.1:8642", False, "127.0.0.1", 8642, True),
        ("https://0.0.0.0:443", True, "0.0.0.0", 443, False),
        ("http://[::1]:80", False, "::1", 80, True),
        ("http://[::]:80/", False, "::", 80, False),
        ("http://127.9.9.9:1", False, "127.9.9.9", 1, True),
        ("http://[::ffff:7f00:1]:1", False, "::ffff:7f00:1", 1, False),
    ],
)
def test_an_address_is_read_as_it_is_declared(text, secure, host, port, local):
    found = parse(text)
    assert (found.secure, found.host, found.port, found.local) == (secure, host, port, local)


@pytest.mark.parametrize("text", ["127.0.0.1:80", "http://localhost:80", "http://127.0.0.1", "ftp://127.0.0.1:1", ""])
def test_what_is_no_address_is_told(listening, text):
    listening.want((text,), 1, keyed=True)
    assert listening.refused[text].startswith("cannot listen at ")


def test_each_worker_has_a_socket_and_fewer_workers_close_none(listening, free):
    listening.want((free,), 3, keyed=False)
    assert len(listening.sockets[free]) == 3
    assert answers(free)
    before = [each.fileno() for each in listening.sockets[free]]
    listening.want((free,), 1, keyed=False)
    assert [each.fileno() for each in listening.sockets[free]] == before
    listening.want((free,), 4, keyed=False)
    assert [each.fileno() for each in listening.sockets[free]][:3] == before


def test_an_address_that_is_declared_no_more_is_closed(listening, free):
    listening.want((free,), 1, keyed=False)
    listening.want((), 1, keyed=False)
    assert not answers(free)


def test_others_come_in_only_where_somebody_has_to_show_a_key(listening, free):
    wide = free.replace("127.0.0.1", "0.0.0.0")
    listening.want((wide,), 1, keyed=False)
    assert not answers(free)
    assert "`kind: Access`" in listening.refused[wide]
    listening.want((wide,), 1, keyed=True)
    assert answers(free)
    assert not listening.refused
    listening.want((wide,), 1, keyed=False)
    assert not answers(free), "the keys are gone, and so is the way in"


def test_who_has_the_address_already_is_named_and_the_others_are_open(listening, free):
    with socket.socket() as other, socket.socket() as second:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"http://127.0.0.1:{other.getsockname()[1]}"
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        second.bind(("127.0.0.1", 0))
        second.listen()
        shared = f"http://127.0.0.1:{second.getsockname()[1]}"
        listening.want((taken, shared, free), 1, keyed=False)
        for text in (taken, shared):
            assert f"cannot listen at {text}: pid {os.getpid()} (" in listening.refused[text]
        assert answers(free)
    listening.want((taken, shared, free), 1, keyed=False)
    assert not listening.refused
    assert answers(taken)


def test_an_address_of_another_machine_is_told(listening):
    listening.want(("http://192.0.2.1:80",), 1, keyed=True)
    assert "this machine has no such address" in listening.refused["http://192.0.2.1:80"]


def test_sockets_of_the_program_before_are_taken_up(free):
    before = Listening()
    before.want((free,), 2, keyed=False)
    after = Listening({text: [os.dup(each.fileno()) for each in some] for text, some in before.sockets.items()})
    before.close()
    after.want((free,), 2, keyed=False)
    assert not after.refused
    assert answers(free)
    after.close()
    assert not answers(free)
