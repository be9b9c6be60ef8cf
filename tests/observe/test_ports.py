"""Who listens where: real sockets, real processes."""

import os
import socket
import subprocess
import sys

import pytest

from reconciler.observe import ports, processes

SERVE = """
import socket, sys, time
kept = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(kept.getsockname()[1], flush=True)
sys.stdin.read()
"""
IN_A_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], "0"])
child.wait()
"""
IN_AN_ORPHAN = """
import subprocess, sys
leave = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1], '0'], process_group=0)"
subprocess.run([sys.executable, "-c", leave, sys.argv[1]])
sys.stdin.read()
"""


@pytest.fixture
def spawn():
    """Start a program in a session of its own; its first line of output is the port it listens on."""
    started = []

    def start(*argv, session=True):
        process = subprocess.Popen(
            [sys.executable, "-c", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=session,
        )
        started.append(process)
        assert process.stdout
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.communicate()  # the end of its input ends it


def seen():
    found = ports.listening()
    assert isinstance(found, frozenset)
    return found


def listener(address, family=socket.AF_INET, **more):
    return socket.create_server((address, 0), family=family, **more)


def test_every_listening_port_is_seen_and_no_other():
    """On any address of both families; not what is only bound, not what only connects."""
    with (
        listener("127.0.0.1") as four,
        listener("127.0.0.9") as elsewhere,
        listener("::1", socket.AF_INET6) as six,
        socket.socket() as bound,
        socket.create_connection(four.getsockname()) as client,
    ):
        bound.bind(("127.0.0.1", 0))
        now = seen()
        assert {sock.getsockname()[1] for sock in (four, elsewhere, six)} <= now
        assert bound.getsockname()[1] not in now
        assert client.getsockname()[1] not in now


def test_a_port_that_is_closed_is_free_again():
    """Nothing is remembered between two looks."""
    with listener("127.0.0.1") as sock:
        port = sock.getsockname()[1]
    assert port not in seen()


def test_both_ways_to_ask_the_kernel_agree():
    """Without sock_diag the tables in /proc say the same, bit for bit."""
    with (
        listener("127.0.0.1"),
        listener("0.0.0.0"),
        listener("127.0.0.9"),
        listener("::1", socket.AF_INET6),
        listener("::", socket.AF_INET6),
        listener("::", socket.AF_INET6, dualstack_ipv6=True),
    ):
        mine = processes.sockets(os.getpid())
        by_link, by_table = (
            sorted(found for found in way() if found.inode in mine) for way in (ports._from_netlink, ports._from_proc)
        )
        assert by_link == by_table
        assert sorted(found.rank for found in by_link) == [0, 0, 1, 1, 2, 3]


def test_more_listeners_than_fit_into_one_answer_are_all_seen():
    """The kernel answers in parts."""
    socks = [listener("127.0.0.1") for _ in range(400)]
    try:
        assert {sock.getsockname()[1] for sock in socks} <= seen()
    finally:
        for sock in socks:
            sock.close()


def test_a_port_of_our_own_process_is_no_strangers(spawn):
    """The process itself listens."""
    process, port = spawn(SERVE, "0")
    assert ports.stranger(port, process.pid) is None


def test_a_port_of_a_child_is_no_strangers(spawn):
    """A wrapper script's engine is its child."""
    process, port = spawn(IN_A_CHILD, SERVE)
    assert ports.stranger(port, process.pid) is None


def test_a_port_of_an_orphan_in_the_same_session_is_no_strangers(spawn):
    """An engine may leave its parent and its process group; it does not leave the session."""
    process, port = spawn(IN_AN_ORPHAN, SERVE)
    assert ports.stranger(port, process.pid) is None


def test_a_thief_is_named(spawn):
    """Fault 24: another session's process holds the port."""
    ours, _ = spawn(SERVE, "0")
    thief, port = spawn(SERVE, "0")
    assert ports.stranger(port, ours.pid) == f"pid {thief.pid} {processes.name(thief.pid)}"


def test_a_port_where_nobody_listens_has_no_stranger(spawn):
    """Then a connection is refused, which says enough."""
    process, _ = spawn(SERVE, "0")
    with listener("127.0.0.1") as sock:
        port = sock.getsockname()[1]
    assert ports.stranger(port, process.pid) is None


def test_a_stranger_elsewhere_on_the_same_port_does_not_matter(spawn):
    """It listens on another address: no connection of ours reaches it."""
    process, port = spawn(SERVE, "0")
    with socket.create_server(("127.0.0.9", port)):
        assert ports.stranger(port, process.pid) is None


def test_a_name_may_hold_anything_and_breaks_no_line():
    """A process chooses its own name: brackets do not confuse, control characters do not get out."""
    rename = "import sys; open('/proc/self/comm', 'w').write('a) \\x1b[31m (b'); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        assert processes.name(process.pid) == "a) ?[31m (b"
        assert processes.lineage(process.pid) == (os.getpid(), os.getpgid(process.pid), os.getsid(process.pid))
        process.communicate()


def test_a_process_that_is_gone_belongs_to_nobody():
    """Its pid may be anything's soon."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert processes.leader(process.pid, {os.getpid()}) is None
    assert (processes.name(process.pid), processes.sockets(process.pid)) == ("?", set())
