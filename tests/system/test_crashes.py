"""Engines that crash, hang, never come up, will not go, or find their port taken."""

import os
import signal
import socket
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.system.box import LATEST

pytestmark = pytest.mark.system


def test_a_killed_engine_is_back_at_once_and_the_event_says_so(box):
    box.service("one")
    box.service("other")
    box.daemon()
    box.converged("one", "other")
    before = box.pids()
    os.kill(before["one/0"][0], signal.SIGKILL)
    box.told("Exited", "signal 9", subject="one/0")
    eventually(lambda: (now := box.replica("one/0")) and (now.run, now.state) == (2, "ready"), what="run 2")
    box.converged("one", "other")
    after = box.pids()
    assert after["one/0"] != before["one/0"]
    assert after["other/0"] == before["other/0"]


def test_a_crash_loop_backs_off_longer_each_time_and_keeps_its_first_words(box):
    box.service("bad", "sh", "-c", 'echo "words of $$"; echo "cannot do it" >&2; exit 3')
    box.daemon()
    box.told("exited with status 3", "cannot do it", subject="bad/0")
    eventually(lambda: (one := box.replica("bad/0")) and one.run >= 4 and one.state == "exited", what="four runs")
    assert "times in a row" in eventually(lambda: box.stalled("bad", "BackingOff"), what="it backs off").message
    starts = [event.at for event in box.events("bad/0") if event.message.startswith("starting")]
    waits = [after - before for before, after in pairwise(starts)]
    assert all(after > 1.5 * before for before, after in pairwise(waits)), waits
    first = box.cli("logs", "bad", "--run", "1")
    kept = box.cli("logs", "bad", "--run", "first")
    assert kept.stdout == first.stdout
    assert "cannot do it" in kept.stdout
    assert kept.stdout != box.cli("logs", "bad", "--run", "3").stdout


def test_a_missing_program_is_named(box):
    box.service("ghost", "/nowhere/program")
    box.daemon()
    assert "/nowhere/program" in eventually(lambda: box.stalled("ghost"), what="why it does not run").message


def test_all_of_a_service_goes_though_it_is_deaf_and_forked(box):
    script = (
        "trap '' TERM; sleep 100001 & setsid sleep 100002 & (setsid sh -c 'sleep 100003 & sleep 100004') & wait; wait"
    )
    box.service("deaf", "sh", "-c", script, update={"grace": "500ms"})
    box.service("other")
    box.service("third")
    box.daemon()
    box.converged("deaf", "other", "third")
    eventually(lambda: len(box.engines("deaf/0")) >= 6, what="all its children")
    before = box.pids()
    box.remove("deaf.yaml")
    eventually(lambda: not box.engines("deaf/0") and box.row("deaf") is None, within=LATEST, what="nothing left of it")
    del before["deaf/0"]
    assert box.pids() == before


def test_what_hangs_gets_no_traffic_and_is_restarted(box):
    box.ports(31000)
    box.server("web", health={"path": "/", "interval": "700ms", "timeout": "300ms"})
    box.daemon()
    box.converged("web")
    [endpoint] = box.row("web").endpoints
    assert endpoint.slot == "web/0"
    pid, _ = box.pids()["web/0"]
    os.kill(pid, signal.SIGUSR1)
    seen = []

    def back():
        row = box.row("web")
        replica = row.replicas[0]
        seen.append((replica.run, replica.state, len(row.endpoints)))
        return replica.run == 2 and replica.state == "ready"

    eventually(back, within=LATEST, what="run 2 is ready")
    assert (1, "failing", 0) in seen, "taken out of rotation before it was restarted"
    box.told("ProbeFailing", "stopping", "3 probes failed in a row", subject="web/0")
    assert len(box.row("web").endpoints) == 1


def test_what_is_never_healthy_is_stopped_and_never_gets_traffic(box):
    box.ports(31020)
    box.server("sick", "sick", health={"path": "/x", "start": "2s"})
    box.daemon()
    endpoints = []

    def given_up():
        endpoints.extend(box.row("sick").endpoints)
        return [event for event in box.events("sick/0") if event.reason.value == "NeverReady"]

    [event] = eventually(given_up, within=LATEST, what="it is given up")[:1]
    assert "503" in event.message
    stalled = eventually(lambda: box.stalled("sick"), within=LATEST, what="why")
    assert stalled.reason.value in ("BackingOff", "NeverReady")
    assert not endpoints


def test_a_port_in_use_is_not_leased(box):
    with socket.create_server(("127.0.0.1", 31040)):
        box.ports(31040, 3)
        box.server("web", health={"path": "/"})
        box.daemon()
        box.converged("web")
        assert box.replica("web/0").port in (31041, 31042)


def test_a_port_stolen_before_the_bind_is_exchanged_and_the_thief_gets_no_traffic(box):
    go = box.place / "go"
    box.ports(31050, 3)
    box.server("web", f"late:{go}", health={"path": "/"})
    box.daemon()
    stolen = eventually(lambda: (one := box.replica("web/0")) and one.state == "starting" and one.port, what="a port")
    endpoints = []
    with socket.create_server(("127.0.0.1", stolen)):
        go.touch()

        def elsewhere():
            endpoints.extend(box.row("web").endpoints)
            return box.row("web").ready and box.replica("web/0").port != stolen

        eventually(elsewhere, within=LATEST, what="another port")
    assert not [one for one in endpoints if one.address.endswith(f":{stolen}")]


@pytest.fixture
def tight(box):
    """A memory group of 200 MiB for the daemon and all that it starts."""
    group = Path("/sys/fs/cgroup/memory") / f"holdfast-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(200 * 2**20))
    except OSError:
        pytest.skip("needs a writable control group for memory")
    yield group
    box.clear()
    for pid in (group / "cgroup.procs").read_text().split():  # the forkserver, which ends when its daemon is gone
        Path("/sys/fs/cgroup/memory/cgroup.procs").write_text(pid)
    group.rmdir()


def test_where_memory_runs_out_the_engine_goes_and_not_the_daemon(box, tight):
    """Faults 12 and 20: chosen by the kernel; told as such, with the figure."""
    box.service("steady")
    daemon = box.daemon(before=("sh", "-c", f'echo $$ > {tight}/cgroup.procs; exec "$@"', "sh"))
    box.converged("steady")
    before = box.pids()
    eats = "blocks = []\nwhile True: blocks.append(b'x' * 2**20)"
    box.service("eats", sys.executable, "-c", eats)
    told = box.told("OutOfMemory", "out of memory", "GiB", subject="eats/0")
    assert "killed" in told.message
    assert daemon.poll() is None
    assert box.pids()["steady/0"] == before["steady/0"]
