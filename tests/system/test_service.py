"""`holdfast install` on a booted Debian 12 with systemd 252: what a person does there, in order of a service's life."""

import json
import re
import time

import pytest

from tests.eventually import eventually
from tests.system.machine import Dockerd, Machine

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]
HOLDFAST = "/opt/holdfast/bin/holdfast"
TICK = json.dumps({"kind": "Service", "name": "tick", "command": ["sleep", "100000"]})
DEMO = json.dumps({"kind": "Model", "name": "demo", "source": "file:/opt/demo.gguf", "gpus": 0, "context": 512})


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A machine on which nothing is installed."""
    docker = Dockerd()
    try:
        machine = Machine(docker, tmp_path_factory.mktemp("machine"))
        yield machine
        machine.close()
    finally:
        docker.close()


@pytest.fixture(scope="module")
def machine(bare):
    """The same with the service, a model and another program."""
    bare.says(HOLDFAST, "install")
    bare.write("/etc/holdfast/fleet.d/tick.yaml", TICK)
    bare.write("/etc/holdfast/fleet.d/demo.yaml", DEMO)
    return bare


def engines(machine: Machine) -> dict[str, str]:
    """Slot → pid and start time, once both are ready."""

    def ready():
        done = machine.do("holdfast", "status", "--json")
        if done.returncode:
            return None
        rows = json.loads(done.stdout)["workloads"].values()
        found = {one["slot"]: one["pid"] for row in rows for one in row["replicas"] if one["state"] == "ready"}
        return found if set(found) == {"tick/0", "demo/0"} and all(found.values()) else None

    pids = eventually(ready, within=60, what="both engines are ready")
    assert pids
    return {slot: f"{pid} {started(machine, pid)}" for slot, pid in pids.items()}


def started(machine: Machine, pid: int) -> str:
    """When a process was started, clock ticks; empty where there is none."""
    return machine.do("cut", "-d ", "-f22", f"/proc/{pid}/stat").stdout.strip()


def active_again(machine: Machine, daemon: str) -> None:
    """Wait for a daemon that is another process than that one."""
    eventually(
        lambda: machine.shown("ActiveState") == "active" and machine.shown("MainPID") not in ("0", daemon),
        within=60,
        what="systemd has another daemon",
    )


def test_a_dry_run_tells_what_is_to_be_done_and_does_nothing(bare):
    told = bare.says(HOLDFAST, "install", "--dry-run")
    assert "write /etc/systemd/system/holdfast.service" in told
    assert "systemctl start holdfast" in told
    assert bare.do("test", "-e", "/etc/holdfast").returncode == 1
    assert bare.do("id", "holdfast").returncode == 1


def test_a_program_that_others_cannot_reach_is_refused_before_anything_is_done(bare):
    bare.says("cp", "-r", "/opt/holdfast", "/root/mine")
    bare.says("chmod", "0700", "/root")
    refused = bare.do("/root/mine/bin/python", "-P", "-m", "reconciler.cli", "install")
    assert (refused.returncode, "/opt/holdfast" in refused.stderr) == (1, True)
    assert bare.do("id", "holdfast").returncode == 1


def test_what_is_declared_runs_under_the_service_as_a_user_of_its_own(machine):
    found = engines(machine)
    status = machine.says("systemctl", "status", "--no-pager", "holdfast")
    assert "active (running)" in status
    eventually(lambda: machine.shown("StatusText") == "2 of 2 ready", what="systemd knows how the fleet does")
    pid = found["demo/0"].split()[0]
    assert machine.says("ps", "-o", "user=", pid).strip() == "holdfast"
    assert "CapEff:\t0000000000000000" in machine.says("cat", f"/proc/{pid}/status")


def test_the_service_is_closed_as_far_as_gpus_and_networks_let_it(machine):
    told = machine.says("systemd-analyze", "security", "--no-pager", "holdfast").splitlines()[-1]
    score = re.search(r"exposure level for holdfast.service: ([\d.]+)", told)
    assert score, told
    assert float(score[1]) <= 2.0


def test_installing_again_changes_nothing(machine):
    before, daemon = engines(machine), machine.shown("MainPID")
    assert machine.says("holdfast", "install").startswith("all is installed")
    assert (engines(machine), machine.shown("MainPID")) == (before, daemon)


def test_a_restart_of_the_service_leaves_engines_untouched(machine):
    before, daemon = engines(machine), machine.shown("MainPID")
    machine.says("systemctl", "restart", "holdfast")
    active_again(machine, daemon)
    assert engines(machine) == before


def test_a_stop_leaves_engines_up_and_says_so(machine):
    before = engines(machine)
    machine.says("systemctl", "stop", "holdfast")
    assert "the daemon has ended; engines go on" in machine.journal()
    assert machine.shown("ActiveState") == "inactive"
    for pid, start in (one.split() for one in before.values()):
        assert started(machine, int(pid)) == start
    machine.says("systemctl", "start", "holdfast")
    assert engines(machine) == before


def test_a_killed_daemon_is_started_again_and_takes_its_engines_up(machine):
    before, daemon = engines(machine), machine.shown("MainPID")
    machine.says("kill", "-KILL", daemon)
    active_again(machine, daemon)
    assert engines(machine) == before


def test_a_daemon_that_hangs_is_ended_by_the_watchdog_and_tells_where_it_hung(machine):
    machine.says("mkdir", "-p", "/run/systemd/system/holdfast.service.d")
    machine.write("/run/systemd/system/holdfast.service.d/soon.conf", "[Service]\nWatchdogSec=2s\n")
    machine.says("systemctl", "daemon-reload")
    machine.says("systemctl", "restart", "holdfast")
    before, daemon = engines(machine), machine.shown("MainPID")
    time.sleep(3)  # longer than the watchdog waits: a daemon that is well is left alone
    assert machine.shown("MainPID") == daemon
    machine.says("kill", "-STOP", daemon)
    active_again(machine, daemon)
    assert engines(machine) == before
    assert "Watchdog timeout" in machine.journal()
    assert "Fatal Python error: Aborted" in machine.journal()


def test_a_reload_reads_everything_again_in_the_same_daemon(machine):
    before, daemon = engines(machine), machine.shown("MainPID")
    machine.says("systemctl", "reload", "holdfast")
    eventually(lambda: "reading everything again" in machine.journal(), what="the daemon was told")
    eventually(lambda: machine.shown("ActiveState") == "active", what="the reload has ended")
    assert (engines(machine), machine.shown("MainPID")) == (before, daemon)


def test_members_of_the_group_may_use_it_and_nobody_else(machine):
    for name in ("ada", "eve"):
        machine.says("useradd", name)
    machine.says("usermod", "-aG", "holdfast", "ada")
    assert "tick" in machine.says("holdfast", "status", user="ada")
    stranger = machine.do("holdfast", "status", "--socket", "/run/holdfast/holdfast.sock", user="eve")
    assert (stranger.returncode, "belongs to another user" in stranger.stderr) == (1, True), stranger


def test_a_secret_that_root_alone_can_read_reaches_the_engine(machine):
    machine.write("/etc/holdfast/secrets/canary", "tweet\n")
    machine.says("chmod", "0600", "/etc/holdfast/secrets/canary")
    machine.says("systemctl", "restart", "holdfast")
    sings = {"kind": "Service", "name": "sing", "command": ["sh", "-c", 'echo "<$S>"; sleep 100000']}
    machine.write("/etc/holdfast/fleet.d/sing.yaml", json.dumps({**sings, "env": {"S": {"secret": "canary"}}}))
    eventually(lambda: "<tweet>" in machine.do("holdfast", "logs", "sing").stdout, what="the engine has the secret")
    machine.says("rm", "/etc/holdfast/fleet.d/sing.yaml", "/etc/holdfast/secrets/canary")
    assert "tweet" not in machine.journal()
    eventually(lambda: "sing" not in machine.do("holdfast", "status").stdout, what="it was let go")


def test_a_reboot_brings_the_fleet_back(machine):
    before = engines(machine)
    machine.reboot()
    after = engines(machine)
    assert set(after) == set(before)
    assert after != before


def test_uninstalling_leaves_nothing_but_what_people_wrote(machine):
    pids = [one.split()[0] for one in engines(machine).values()]
    told = machine.says(HOLDFAST, "uninstall")
    assert "stopped demo/0, tick/0" in told
    assert "hf:" not in machine.says("ps", "-eo", "comm=")
    assert [pid for pid in pids if started(machine, int(pid))] == []
    gone = ("/etc/systemd/system/holdfast.service", "/run/holdfast", "/usr/local/bin/holdfast")
    assert [path for path in gone if machine.do("test", "-e", path).returncode == 0] == []
    assert [name for name in ("passwd", "group") if machine.do("getent", name, "holdfast").returncode == 0] == []
    assert machine.shown("LoadState") == "not-found"
    assert machine.says("ls", "/etc/holdfast/fleet.d").split() == ["demo.yaml", "tick.yaml"]
    assert machine.says("stat", "-c", "%U", "/var/lib/holdfast").strip() == "root"
    machine.says(HOLDFAST, "install")
    engines(machine)
    machine.says(HOLDFAST, "uninstall", "--purge")
    left = machine.says(
        "find", "/etc", "/var", "/run", "/usr", "/tmp", "-name", "*holdfast*", "-not", "-path", "*/journal/*"
    )
    assert left == ""
    assert "hf:" not in machine.says("ps", "-eo", "comm=")
    assert machine.says(HOLDFAST, "uninstall") == "nothing is installed\n"
