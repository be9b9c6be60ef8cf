"""`holdfast install` on a booted Debian 12 with systemd 252: what a person does there, in order of a service's life."""

import json
import re
import time

import pytest

from tests.eventually import eventually
from tests.system.machine import HOLDFAST, Machine

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]
TICK = json.dumps({"kind": "Service", "name": "tick", "command": ["sleep", "100000"], "runtime": "process"})
DEMO = json.dumps({"kind": "Model", "name": "demo", "source": "file:/opt/demo.gguf", "gpus": 0, "context": 512})


@pytest.fixture(scope="module")
def bare(machines, tmp_path_factory):
    """A machine on which nothing is installed."""
    machine = Machine(machines, tmp_path_factory.mktemp("machine"))
    yield machine
    machine.close()


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
    pid = found["tick/0"].split()[0]
    assert machine.says("ps", "-o", "user=", pid).strip() == "holdfast"
    assert "CapEff:\t0000000000000000" in machine.says("cat", f"/proc/{pid}/status")
    assert "holdfast-demo-0.service" in machine.says("systemctl", "list-units", "--no-pager", "holdfast-*")


def test_the_service_is_closed_as_far_as_gpus_and_networks_let_it(machine):
    told = machine.says("systemd-analyze", "security", "--no-pager", "holdfast").splitlines()[-1]
    score = re.search(r"exposure level for holdfast.service: ([\d.]+)", told)
    assert score, told
    assert float(score[1]) <= 2.0


GATEWAY = "holdfast-gateway"
ASK = """
import json, sys, urllib.request
told = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}).encode()
url = f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions"
asked = urllib.request.Request(url, told, {"Content-Type": "application/json"})
print(json.load(urllib.request.urlopen(asked, timeout=60))["choices"][0]["message"]["content"])
"""


KNOCK = """
import http.client, os, socket, sys
os.setgroups([int(sys.argv[2])])
os.setresgid(*[int(sys.argv[1])] * 3)
os.setresuid(*[int(sys.argv[1])] * 3)
for directory in ("holdfast-gateways", "holdfast"):
    print(directory)
    for path in ("/v1/metrics", "/v1/status"):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(f"/run/{directory}/holdfast.sock")
        except OSError as error:
            print(type(error).__name__)
            break
        connection.request("GET", path)
        print(connection.getresponse().status)
"""


def answers(machine: Machine, port: int = 8642) -> str:
    """What the demo model says through the gateway; empty where it does not."""
    machine.write("/opt/ask.py", ASK)
    return machine.do("/usr/bin/python3", "/opt/ask.py", str(port), user="nobody").stdout


def test_the_gateway_answers_at_its_address_as_a_user_that_may_do_nothing_else(machine):
    engines(machine)
    assert eventually(lambda: answers(machine), within=60, what="the gateway answers")
    told = machine.says("systemd-analyze", "security", "--no-pager", GATEWAY).splitlines()[-1]
    score = re.search(r"exposure level for holdfast-gateway.service: ([\d.]+)", told)
    assert score, told
    assert float(score[1]) <= 2.0
    assert machine.shown("StatusText", GATEWAY) == "version 0.1.0; listening at http://127.0.0.1:8642"
    pid = machine.shown("MainPID", GATEWAY)
    status = machine.says("cat", f"/proc/{pid}/status")
    assert "CapEff:\t0000000000000400" in status, "ports below 1024, and nothing else"
    uid, holdfast = (machine.says(*words).strip() for words in (("ps", "-o", "uid=", pid), ("id", "-u", "holdfast")))
    assert uid not in ("0", holdfast)
    gids = {line.partition(":\t")[0]: line.split()[1:] for line in status.splitlines()}["Groups"]
    group, people = (machine.says("getent", "group", name).split(":")[2] for name in ("holdfast-gateways", "holdfast"))
    assert group in gids
    assert people not in gids
    told = machine.says("/usr/bin/python3", "-c", KNOCK, *(f"{number}" for number in (uid, group)))
    assert told.split() == ["holdfast-gateways", "200", "404", "holdfast", "PermissionError"]
    assert machine.says("stat", "-c", "%a %U %G", "/run/holdfast-gateways").strip() == "2750 holdfast holdfast-gateways"
    assert "gateway: http://127.0.0.1:8642 answers" in machine.do("holdfast", "doctor").stdout


def test_the_gateway_opens_a_port_below_1024_once_it_is_declared(machine):
    node = {"kind": "Node", "name": "local", "gateway": {"listen": ["127.0.0.1:8642", "127.0.0.1:80"]}}
    machine.write("/etc/holdfast/fleet.d/node.yaml", json.dumps(node))
    eventually(lambda: answers(machine, 80), within=30, what="it listens at port 80")
    machine.says("rm", "/etc/holdfast/fleet.d/node.yaml")


def test_a_reload_of_the_gateway_is_another_program_in_the_same_process(machine):
    assert eventually(lambda: answers(machine), within=60, what="the gateway answers")
    pid = machine.shown("MainPID", GATEWAY)
    machine.says("systemctl", "reload", GATEWAY)
    eventually(lambda: "has finished" in machine.journal(GATEWAY), what="the old workers have ended")
    assert (machine.shown("MainPID", GATEWAY), machine.shown("ActiveState", GATEWAY)) == (pid, "active")
    assert answers(machine)


def test_the_gateway_goes_on_while_the_daemon_is_away(machine):
    pid = machine.shown("MainPID", GATEWAY)
    machine.says("systemctl", "stop", "holdfast")
    assert answers(machine)
    machine.says("systemctl", "start", "holdfast")
    engines(machine)
    assert machine.shown("MainPID", GATEWAY) == pid


def test_a_killed_gateway_is_started_again(machine):
    pid = machine.shown("MainPID", GATEWAY)
    machine.says("kill", "-KILL", pid)
    eventually(lambda: machine.shown("MainPID", GATEWAY) not in ("0", pid), within=30, what="systemd has another")
    assert eventually(lambda: answers(machine), within=30, what="it answers")


def test_installing_again_changes_nothing(machine):
    before = engines(machine), machine.shown("MainPID"), machine.shown("MainPID", GATEWAY)
    assert machine.says("holdfast", "install").startswith("all is installed")
    assert (engines(machine), machine.shown("MainPID"), machine.shown("MainPID", GATEWAY)) == before


def test_an_upgrade_reloads_the_gateway(machine):
    pid = machine.shown("MainPID", GATEWAY)
    version = "/opt/holdfast/lib/python3.11/site-packages/reconciler/__init__.py"
    before = machine.says("cat", version)
    machine.write(version, before.replace("0.1.0", "0.1.1"))
    told = machine.says("holdfast", "install")
    assert "systemctl reload holdfast-gateway" in told
    assert "systemctl restart holdfast  (engines go on)" in told
    eventually(lambda: machine.shown("StatusText", GATEWAY).startswith("version 0.1.1;"), what="it is the new one")
    assert machine.shown("MainPID", GATEWAY) == pid
    assert machine.says("holdfast", "install").startswith("all is installed")
    machine.write(version, before)
    machine.says("holdfast", "install")


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
    assert "somebody else" not in machine.says("holdfast", "events", "demo/0"), "the daemon went before it"


def test_uninstalling_leaves_nothing_but_what_people_wrote(machine):
    pids = [one.split()[0] for one in engines(machine).values()]
    told = machine.says(HOLDFAST, "uninstall")
    assert "stopped demo/0, tick/0" in told
    assert "hf:" not in machine.says("ps", "-eo", "comm=")
    assert [pid for pid in pids if started(machine, int(pid))] == []
    units = ("/etc/systemd/system/holdfast.service", "/etc/systemd/system/holdfast-gateway.service")
    gone = (
        *units,
        "/run/holdfast",
        "/run/holdfast-gateways",
        "/usr/local/bin/holdfast",
        "/var/lib/private/holdfast-gateway",
    )
    assert [path for path in gone if machine.do("test", "-e", path).returncode == 0] == []
    assert "0 loaded units" in machine.says("systemctl", "list-units", "--all", "--no-pager", "holdfast*")
    names = (("passwd", "holdfast"), ("group", "holdfast"), ("group", "holdfast-gateways"))
    assert [each for each in names if machine.do("getent", *each).returncode == 0] == []
    assert machine.shown("LoadState") == "not-found"
    assert machine.says("ls", "/etc/holdfast/fleet.d").split() == ["demo.yaml", "tick.yaml"]
    assert machine.says("stat", "-c", "%U", "/var/lib/holdfast").strip() == "root"
    machine.says(HOLDFAST, "install")
    engines(machine)
    machine.says(HOLDFAST, "uninstall", "--purge")
    # the journal is people's; in /run/systemd/units systemd leaves a link behind of units that were
    others = ("-not", "-path", "*/journal/*", "-not", "-path", "/run/systemd/units/*")
    left = machine.says("find", "/etc", "/var", "/run", "/usr", "/tmp", "-name", "*holdfast*", *others)
    assert left == ""
    assert "hf:" not in machine.says("ps", "-eo", "comm=")
    assert machine.says(HOLDFAST, "uninstall") == "nothing is installed\n"


# what others have laid in the way: from here on nothing is installed at first


PLANTED = """
import json, os, subprocess
S = "/var/lib/holdfast"
slot, token = f"{S}/slots/evil.0", "evil"
os.mkdir(slot, 0o700)
launch = json.load(open(f"{S}/slots/tick.0/launch.json"))
launch["token"], launch["launch"]["slot"] = token, "evil/0"
json.dump(launch, open(f"{slot}/launch.json", "w"))
os.mkfifo(f"{slot}/out", 0o600)
os.unlink(f"{S}/lock")
os.symlink("/etc/victim", f"{S}/lock")
os.symlink("/etc/victim", f"{slot}/run.json")
os.symlink("/etc/victims", f"{S}/logs/evil.0")
subprocess.Popen(["/bin/sleep", "300"], env={"HOLDFAST_TOKEN": token}, start_new_session=True, cwd="/")
"""


@pytest.fixture
def again(bare):
    """The machine after an uninstall; nothing of what the test does is left afterwards."""
    yield bare
    bare.do(HOLDFAST, "uninstall", "--purge")
    bare.do("sh", "-c", "userdel -r holdfast; groupdel holdfast; rm -rf /etc/holdfast /var/lib/holdfast /etc/victim*")


def test_root_follows_no_link_of_the_services_user_and_nothing_of_its_own_goes_on(again):
    again.says(HOLDFAST, "install")
    again.write("/etc/holdfast/fleet.d/tick.yaml", TICK)
    eventually(
        lambda: again.do("test", "-s", "/var/lib/holdfast/slots/tick.0/run.json").returncode == 0,
        within=30,
        what="it runs",
    )
    again.says("mkdir", "/etc/victims")
    again.write("/opt/plant.py", PLANTED)
    again.says("/usr/bin/python3", "/opt/plant.py", user="holdfast")
    uid = again.says("id", "-u", "holdfast").strip()
    done = again.do(HOLDFAST, "uninstall")
    assert again.do("cat", "/etc/victim").returncode, "root has made what its user wished"
    assert again.says("ls", "/etc/victims") == ""
    assert done.returncode, "what stands in the way of a clean stop is told"
    assert "Traceback" not in done.stderr
    again.says("sh", "-c", "rm -rf /var/lib/holdfast/lock /var/lib/holdfast/slots/evil.0 /var/lib/holdfast/logs/evil.0")
    again.says(HOLDFAST, "uninstall")
    assert again.do("pgrep", "-U", uid).stdout == "", "a number that is nobody's has no processes"


def test_an_account_of_a_person_is_neither_taken_nor_removed(again):
    again.says("useradd", "-m", "-s", "/bin/bash", "holdfast")
    told = again.do(HOLDFAST, "install")
    assert told.returncode
    assert "not its own (home /home/holdfast, shell /bin/bash)" in told.stderr
    again.do(HOLDFAST, "uninstall", "--purge")
    assert again.do("id", "holdfast").returncode == 0


def test_a_user_without_a_group_of_that_name_is_told_in_words(again):
    again.says("useradd", "-r", "-N", "-g", "nogroup", "-d", "/var/lib/holdfast", "-s", "/usr/sbin/nologin", "holdfast")
    told = again.do(HOLDFAST, "install")
    assert "its group is not holdfast; `groupadd --system holdfast" in told.stderr


def test_a_program_that_somebody_else_may_change_is_refused(again):
    again.says("sh", "-c", "useradd -m alice; cp -a /opt/holdfast /srv/venv; chown alice /srv/venv/lib/python3.11")
    told = again.do("/srv/venv/bin/python", "-P", "-m", "reconciler.cli", "install", "--dry-run")
    assert told.returncode
    assert "/srv/venv/lib/python3.11 may be changed by others than root" in told.stderr


def test_an_install_that_was_cut_off_is_brought_to_an_end_by_the_next(again):
    again.says(HOLDFAST, "install")
    unit = "/etc/systemd/system/holdfast.service"
    again.says("sh", "-c", f"cp {unit} /root/new; sed -i s/WatchdogSec=30s/WatchdogSec=77s/ {unit}")
    again.says("sh", "-c", f"systemctl daemon-reload; systemctl restart holdfast; cp /root/new {unit}")
    again.says("sh", "-c", r"printf '# d\351j\340\n' >> /etc/holdfast/environment")  # no UTF-8, and no matter
    again.says("chmod", "755", "/etc/holdfast/secrets")
    told = again.says(HOLDFAST, "install")
    assert "chmod 0700 /etc/holdfast/secrets" in told
    assert (again.shown("NeedDaemonReload"), again.shown("WatchdogUSec")) == ("no", "30s")
    assert again.says(HOLDFAST, "install").startswith("all is installed")
