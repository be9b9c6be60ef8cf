"""What clients do, as a person sees it: text in, text out."""

from dataclasses import replace
from textwrap import dedent

import pytest

from reconciler.model.live import HostMeters
from reconciler.model.routing import Traffic, Wanted
from reconciler.model.status import GatewayStatus, Reason
from tests.api.daemon import GPUS, status, workload
from tui.view.paint import brief, rate
from tui.view.status import status_text
from tui.view.top import top_text

UP = GatewayStatus(listen=("http://127.0.0.1:8642",), connected=True)
TRAFFIC = {
    "chat": Wanted(
        in_flight={"chat/0": 2, "chat/1": 3},
        traffic=Traffic(requests=12.04, errors=0.5, tokens=340.0, first_byte=0.18, total=900),
    ),
    "code": Wanted(waiting=3, oldest=4.0),
}
STARTING = workload("code", ready=0, reason=Reason.Starting, why="code/0 loading")
FLEET = status(
    workload("chat", ready=2, wanted=2),
    STARTING,
    workload("files", kind="Service"),
    gpus=GPUS,
    gateway=UP,
    traffic=TRAFFIC,
)


def shown(text: str) -> str:
    return dedent(text).strip("\n")


def test_every_model_and_every_gpu_at_80_columns():
    assert top_text(FLEET, width=80, colour=False) == shown("""
        gateway at http://127.0.0.1:8642 · 12 req/s · 340 tok/s · 3 waiting

        MODEL   READY  IN FLIGHT  WAITING  REQ/S  TOK/S  FIRST BYTE  ERR/S
        ● chat  2/2    5          0        12     340    180ms       0.5
        ◐ code  0/1    0          3        0.0    0.0    -           0.0
            code/0 loading

        gpu 0  H200  ▇▇▇▇▁▁▁▁▁▁  62.0 of 141.0 GiB  chat/0 60.0, pid 7 x 1.0
        """)


HOST = HostMeters(busy=None, cores=1, memory=64 * 2**30, used=3 * 2**29, load=0.25)


def test_the_machine_itself_is_told_where_it_tells():
    for host, told in (
        (HOST, "host   1 core, load 0.2, 1.5 of 64.0 GiB of memory"),
        (replace(HOST, busy=99.6, cores=256), "host   100 % of 256 cores, load 0.2, 1.5 of 64.0 GiB of memory"),
    ):
        assert top_text(FLEET, host, width=80, colour=False).splitlines()[-1] == told
    assert "host" not in top_text(FLEET, None, width=80, colour=False)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    many = replace(FLEET, workloads={f"m{i}": workload(f"model-with-a-very-long-name-{i}") for i in range(9)})
    for found in (FLEET, many, replace(FLEET, gateway=replace(UP, connected=False))):
        busy = replace(HOST, busy=50.0, cores=10_000, load=1e9)
        assert max(map(len, top_text(found, busy, width=width, colour=False).splitlines())) <= width


def test_a_gateway_that_is_down_or_nowhere_is_said_to_be():
    down = top_text(replace(FLEET, gateway=replace(UP, connected=False)), width=80, colour=False)
    assert down.startswith("▲ the gateway at http://127.0.0.1:8642 is not up; start it with `holdfast up`\n")
    assert top_text(replace(FLEET, gateway=None), width=80, colour=False).startswith("no gateway here")
    assert "no model is declared" in top_text(status(gateway=UP), width=80, colour=False)


def test_what_the_gateway_cannot_do_stands_beneath_where_it_is():
    taken = "cannot listen at http://127.0.0.1:8642: pid 4242 (ollama) does; end it, or declare another address"
    text = top_text(replace(FLEET, gateway=replace(UP, problems=(taken,))), width=80, colour=False)
    assert text.splitlines()[1:3] == [
        "▲ cannot listen at http://127.0.0.1:8642: pid 4242 (ollama) does; end it, or",
        "  declare another address",
    ]


def test_no_escape_reaches_the_terminal():
    evil = workload("code", ready=0, reason=Reason.Starting, why="\x1b[2J\u202eboom")
    text = top_text(status(evil, gateway=replace(UP, listen=("http://\x1b[2J",))), width=80, colour=False)
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_status_shows_rates_where_there_are_any():
    lines = status_text(FLEET, width=120, colour=False).splitlines()
    assert lines[:5] == [
        "/srv/fleet.d @ 3f2a9c1 on box1 · 2 of 3 ready",
        "gateway at http://127.0.0.1:8642 · 12 req/s · 340 tok/s · 3 waiting",
        "",
        "NAME   STATE       READY  ENGINE    GPU  PORT       RESTARTS  SINCE  TRAFFIC",
        "chat   ● ready     2/2    llamacpp  0,1  9000,9001  0         1m     12 req/s · 340 tok/s",
    ]
    assert "3 waiting" in lines[5]
    quiet = status_text(replace(FLEET, traffic={"chat": Wanted(traffic=Traffic(total=7))}), width=120, colour=False)
    assert "TRAFFIC" not in quiet
    assert quiet.splitlines()[1] == "gateway at http://127.0.0.1:8642"


def test_status_at_80_columns_keeps_the_rates():
    lines = status_text(FLEET, width=80, colour=False).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[3:5] == [
        "NAME   STATE       READY  GPU  PORT       RESTARTS  SINCE  TRAFFIC",
        "chat   ● ready     2/2    0,1  9000,9001  0         1m     12 req/s · 340 tok/s",
    ]
    assert "SINCE" not in status_text(FLEET, width=75, colour=False).splitlines()[3]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0.0, "0.0"), (0.44, "0.4"), (9.94, "9.9"), (9.96, "10"), (340.2, "340"), (15_340.0, "15.3k")],
)
def test_rates_are_brief(number, expected):
    assert rate(number) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0004, "0.4ms"), (0.00994, "9.9ms"), (0.00996, "10ms"), (0.18, "180ms"), (0.9994, "999ms"), (0.9996, "1.0s")],
)
def test_short_times_are_brief(seconds, expected):
    assert brief(seconds) == expected
