"""Ids are safe to write anywhere; a trace goes on only where it is one."""

import re

import pytest

from reconciler.gateway.trace import passed_on, request_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("given", [b"a", b"req_9.A-z", b"x" * 128])
def test_a_clients_own_id_is_kept(given: bytes):
    assert request_id(given) == given.decode()


@pytest.mark.parametrize(
    "given", [None, b"", b"x" * 129, b"a b", b"a\n", b"a\r\nx: y", b"\xff", b'"', b"a;b", b"\x1b[31m", "é".encode()]
)
def test_any_other_is_replaced_by_one_that_nobody_else_has(given: bytes | None):
    made = {request_id(given) for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", one) for one in made)


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", "01"),
        (f"00-{TRACE}-{SPAN}-00", "00"),
        (f"00-{TRACE}-{SPAN}-ff", "ff"),
        (f"01-{TRACE}-{SPAN}-03", "01"),
        (f"cc-{TRACE}-{SPAN}-02-what-the-future-will-be-like", "00"),
    ],
)
def test_a_trace_goes_on_with_a_span_of_ours(given: str, flags: str):
    trace, passed = passed_on(given.encode())
    assert trace == TRACE
    version, same, span, said = passed.decode().split("-")
    assert (version, same, said) == ("00", TRACE, flags)
    assert re.fullmatch("[0-9a-f]{16}", span)
    assert span != SPAN
    assert passed_on(given.encode())[1] != passed


@pytest.mark.parametrize(
    "given",
    [
        "",
        TRACE,
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01.",
        f"cc-{TRACE}-{SPAN}-01.x",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_no_trace_is_not_passed_on(given: str):
    assert passed_on(given.encode()) == ("", b"")
