"""Instances as units of a real systemd, on a booted Debian 12 on which Holdfast was installed."""

import contextlib
import json

import pytest

from reconciler.model.errors import ApiError
from reconciler.model.status import Replica
from tests.eventually import eventually
from tests.system.machine import HOLDFAST, Machine

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]
FLEET = "/etc/holdfast/fleet.d"
ORDER = """
import json, socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect("/run/holdfast-units.sock")
peer.sendall(sys.stdin.buffer.readline())
sys.stdout.write(peer.makefile().readline())
"""


@pytest.fixture(scope="module")
def machine(machines, tmp_path_factory):
    """A machine with the service; each test declares what it needs, and takes it away again."""
    machine = Machine(machines, tmp_path_factory.mktemp("units"))
    machine.says(HOLDFAST, "install")
    machine.write("/root/order.py", ORDER)
    declare(machine, "always", "sleep", "100000")
    yield machine
    machine.close()


def declare(machine, name, *command, **fields):
    """Have a service run; without a command a model."""
    kind = {"kind": "Service", "command": command} if command else {"kind": "Model", "gpus": 0, "context": 512}
    machine.write(f"{FLEET}/{name}.yaml", json.dumps({**kind, "name": name, **fields}))


def remove(machine, name):
    machine.says("rm", f"{FLEET}/{name}.yaml")
    eventually(lambda: row(machine, name) is None, within=30, what=f"{name} is let go")
    assert machine.do("systemctl", "show", "-p", "LoadState", f"holdfast-{name}-0").stdout == "LoadState=not-found\n"


def row(machine, name):
    """Its row of the status; None where there is none. Of a daemon that does not answer, the next one is asked."""

    def look():
        with contextlib.suppress(ApiError):
            return machine.client.status()

    status = eventually(look, within=30, what="a daemon answers")
    return status.workloads.get(name) if status else None


def replica(machine, name):
    found = row(machine, name)
    return found.replicas[0] if found and found.replicas else Replica(slot=name, state="absent")


def stalled(machine, name):
    """What stands in its way."""
    found = row(machine, name)
    return found.conditions[2].message if found else ""


def ready(machine, name, run=None):
    """Its pid, once it is ready."""

    def look():
        one = replica(machine, name)
        return one.pid if one.state == "ready" and run in (None, one.run) else None

    return eventually(look, within=30, what=f"{name} is ready")


def told(machine, name, *words):
    """Wait for an event of this instance whose text holds all these words."""

    def look():
        with contextlib.suppress(ApiError):
            events = machine.client.events(subject=f"{name}/0", newest=True)
            return next((e for e in events if all(word in f"{e.reason} {e.message}" for word in words)), None)

    return eventually(look, within=30, what=f"an event says {words}")


def shown(machine, name, what):
    return machine.says("systemctl", "show", "--value", "-p", what, f"holdfast-{name}-0").strip()


def order(machine, packet, user="holdfast"):
    """What the broker answers to somebody."""
    machine.write("/tmp/order", json.dumps(packet) + "\n")
    machine.says("chmod", "0644", "/tmp/order")
    return machine.do("sh", "-c", f"python3 -c '{ORDER}' < /tmp/order", user=user)


def test_an_instance_is_a_unit_with_limits_walls_and_a_user_of_its_own(machine):
    look = "id -u; cat /var/lib/holdfast/memory.json /run/holdfast-units/x; touch /etc/here; ls /dev/kmsg; echo end"
    declare(machine, "one", "sh", "-c", f"{look}; exec sleep 100000", memory="200MiB")
    pid = ready(machine, "one")
    assert shown(machine, "one", "MainPID") == str(pid)
    assert shown(machine, "one", "Slice") == "holdfast.slice"
    assert shown(machine, "one", "MemoryMax") == str(200 * 2**20)
    assert machine.says("cat", f"/proc/{pid}/oom_score_adj").strip() == "500"
    status = machine.says("cat", f"/proc/{pid}/status")
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    said = eventually(lambda: (log := machine.says("holdfast", "logs", "one")).endswith("end\n") and log, what="log")
    assert said.count("Permission denied") == 2, said
    assert said.count("Read-only file system") == 1, said
    assert "/dev/kmsg': No such file" in said
    others = ready(machine, "always")
    users = {machine.says("stat", "-c", "%u", f"/proc/{each}").strip() for each in (pid, others)}
    assert len(users) == 2
    assert all(61184 <= int(user) < 65520 for user in users)
    exposure = machine.says("systemd-analyze", "security", "--no-pager", "holdfast-one-0").splitlines()[-1]
    assert float(exposure.split("service: ")[1].split()[0]) <= 2.0, exposure
    remove(machine, "one")
    assert machine.do("pgrep", "-u", next(iter(users - {str(others)})), "sh").returncode == 1


def test_weights_below_a_directory_that_is_closed_to_others_are_read(machine):
    machine.says("cp", "/opt/demo.gguf", "/var/cache/holdfast/models/demo.gguf")
    assert machine.says("stat", "-c", "%a %U:%G", "/var/cache/holdfast").strip() == "750 root:holdfast"
    declare(machine, "model", source="file:/var/cache/holdfast/models/demo.gguf")
    ready(machine, "model")
    assert machine.says("holdfast", "chat", "model", "hello")
    remove(machine, "model")


def test_a_model_that_others_may_not_read_is_refused_and_how_to_mend_it_told(machine):
    machine.says("install", "-o", "holdfast", "-m", "0600", "/opt/demo.gguf", "/srv/demo.gguf")
    declare(machine, "shut", source="file:/srv/demo.gguf")
    told(machine, "shut", "SourceMissing", "others may not read it", "chmod")
    machine.says("chmod", "o+r", "/srv/demo.gguf")
    ready(machine, "shut")
    remove(machine, "shut")


def test_a_secret_is_in_the_environment_of_the_engine_and_nowhere_else(machine):
    machine.write("/etc/holdfast/secrets/canary", 'k4n"4$y\n')
    machine.says("systemctl", "restart", "holdfast")
    declare(machine, "sing", "sh", "-c", 'echo "<${#S}>"; exec sleep 100000', env={"S": {"secret": "canary"}})
    pid = ready(machine, "sing")
    assert 'S=k4n"4$y\0' in machine.says("cat", f"/proc/{pid}/environ")
    eventually(lambda: machine.says("holdfast", "logs", "sing") == "<7>\n", what="it has it whole")
    everywhere = machine.says("sh", "-c", "systemctl show 'holdfast-*'; cat /run/systemd/transient/holdfast-*; ps axww")
    assert "k4n" not in everywhere + machine.says("journalctl", "--no-pager", "-o", "export")
    assert machine.says("ls", "/run/holdfast-units") == ""
    machine.says("rm", "/etc/holdfast/secrets/canary")
    remove(machine, "sing")


def test_a_failure_is_told_with_its_last_words_and_stays_to_be_seen_by_systemctl(machine):
    declare(machine, "bad", "sh", "-c", "echo it was here; (echo no flux); exit 3")
    told(machine, "bad", "exited with status 3", "no flux")
    eventually(lambda: replica(machine, "bad").run >= 3, within=30, what="it is tried again and again")
    assert machine.says("holdfast", "logs", "bad", "--run", "first") == "it was here\nno flux\n"
    assert "it was here" in machine.says("journalctl", "--no-pager", "-u", "holdfast-bad-0")
    eventually(lambda: shown(machine, "bad", "Result") == "exit-code", what="systemctl shows it")
    assert shown(machine, "bad", "ExecMainStatus") == "3"
    remove(machine, "bad")


def test_a_program_that_cannot_be_run_is_told(machine):
    declare(machine, "absent", "no-such-program")
    told(machine, "absent", "cannot run no-such-program", "not found on PATH")
    machine.write("/srv/plain", "#!/nowhere\n")
    declare(machine, "plain", "/srv/plain")
    told(machine, "plain", "cannot be executed by the unit's user", "journalctl -u holdfast-plain-0")
    remove(machine, "absent")
    remove(machine, "plain")


def test_words_with_dollars_quotes_and_line_breaks_arrive_as_they_were_written(machine):
    odd = ["$HOME", "${HOME}", "$$", "%n", 'a "b" \\ c', "two\nlines", "ä"]
    declare(
        machine,
        "odd",
        "sh",
        "-c",
        'printf "<%s>" "$@" "$E"; echo; exec sleep 9999',
        "-",
        *odd,
        env={"E": "\n".join(odd)},
    )
    ready(machine, "odd")
    wanted = "".join(f"<{word}>" for word in (*odd, "\n".join(odd))) + "\n"
    eventually(lambda: machine.says("holdfast", "logs", "odd") == wanted, what="all of it is said")
    remove(machine, "odd")


def test_a_unit_that_a_person_stops_is_told_as_that_and_started_again(machine):
    declare(machine, "up", "sleep", "100000")
    first = ready(machine, "up")
    machine.says("systemctl", "stop", "holdfast-up-0")
    told(machine, "up", "Exited", "somebody else stopped its unit")
    second = ready(machine, "up", run=2)
    machine.says("systemctl", "kill", "--signal=HUP", "holdfast-up-0")
    told(machine, "up", "was killed by signal 1")
    assert ready(machine, "up", run=3) not in (first, second)
    remove(machine, "up")


def test_a_daemon_or_a_manager_that_is_replaced_leaves_units_untouched(machine):
    before = ready(machine, "always")
    for replaced in (
        ("systemctl", "restart", "holdfast"),
        ("systemctl", "kill", "--signal=KILL", "holdfast"),
        ("systemctl", "kill", "--signal=KILL", "holdfast-units"),
        ("systemctl", "daemon-reexec"),
        ("systemctl", "daemon-reload"),
    ):
        machine.says(*replaced)
        assert ready(machine, "always") == before, replaced
    machine.says("systemctl", "kill", "--signal=KILL", "holdfast-always-0")
    eventually(lambda: ready(machine, "always") != before, what="and its end is heard by the last of them")


def test_what_ends_while_no_daemon_is_there_is_known_to_the_next(machine):
    declare(machine, "gone", "sleep", "100000")
    ready(machine, "gone")
    machine.says("systemctl", "stop", "holdfast")
    machine.says("systemctl", "kill", "--signal=ABRT", "holdfast-gone-0")
    machine.says("systemctl", "start", "holdfast")
    told(machine, "gone", "was killed by signal 6")
    ready(machine, "gone", run=2)
    remove(machine, "gone")


def test_one_that_is_deaf_is_killed_after_its_grace_and_nothing_is_left_of_one_that_forks(machine):
    spawn = "trap '' TERM; setsid sleep 4242 & while :; do sleep 0.1; done"
    declare(machine, "deaf", "sh", "-c", spawn, update={"grace": "1s"})
    ready(machine, "deaf")
    machine.says("holdfast", "restart", "deaf")
    told(machine, "deaf", "did not end on SIGTERM and was killed")
    remove(machine, "deaf")
    declare(machine, "fork", "sh", "-c", "setsid sleep 4242 & exit 0")
    told(machine, "fork", "exited with status 0")
    remove(machine, "fork")
    assert machine.do("pgrep", "-f", "sleep 4242").returncode == 1


def test_one_that_takes_more_memory_than_its_limit_is_told_as_that(machine):
    eats = "import os; kept = []\nwhile True: kept.append(os.urandom(2**20))"
    declare(machine, "eats", "python3", "-c", eats, memory="48MiB")
    told(machine, "eats", "out of memory", "its limit of 48")
    remove(machine, "eats")


def test_somebody_elses_unit_of_the_same_name_is_named_and_left_alone(machine):
    machine.says("systemd-run", "--quiet", "--unit=holdfast-clash-0.service", "sleep", "100000")
    before = shown(machine, "clash", "MainPID")
    declare(machine, "clash", "sleep", "1")
    told(machine, "clash", "holdfast-clash-0.service is somebody else's unit")
    assert shown(machine, "clash", "MainPID") == before
    machine.says("systemctl", "stop", "holdfast-clash-0")
    declare(machine, "clash", "sleep", "100000")
    ready(machine, "clash")
    remove(machine, "clash")


def test_without_an_answer_of_the_manager_what_runs_is_unknown_and_goes_on(machine):
    before = ready(machine, "always")
    machine.says("systemctl", "stop", "holdfast-units.socket", "holdfast-units.service")
    declare(machine, "later", "sleep", "100000")
    eventually(lambda: replica(machine, "always").state == "unknown", within=30, what="it is unknown")
    eventually(lambda: "cannot reach systemd: holdfast-units" in stalled(machine, "later"), what="the other is blocked")
    assert "holdfast-units.socket" in machine.do("holdfast", "doctor").stdout
    machine.says("systemctl", "start", "holdfast-units.socket")
    assert ready(machine, "always") == before
    ready(machine, "later")
    remove(machine, "later")


def test_a_daemon_that_is_root_and_was_not_installed_has_units_where_they_are_asked_for(machine):
    machine.says("mkdir", "-p", "/root/fleet")
    machine.says("cp", "/opt/demo.gguf", "/root/demo.gguf")
    for name, place in (("own", "/opt"), ("hidden", "/root")):
        model = {"kind": "Model", "gpus": 0, "context": 512, "source": f"file:{place}/demo.gguf", "name": name}
        machine.write(f"/root/fleet/{name}.yaml", json.dumps({**model, "runtime": "systemd"}))
    machine.write("/root/fleet/local.yaml", json.dumps({"kind": "Node", "name": "local", "ports": "9500-9599"}))
    words = ("/root/fleet", "--state", "/root/state", "--socket", "/root/state/socket")
    machine.says("systemd-run", "--quiet", "--unit=by-hand", "--setenv=HOME=/root", HOLDFAST, "run", *words)
    status = (HOLDFAST, "status", "own", "--socket", "/root/state/socket")
    eventually(lambda: "own/0: ready, run 1, under systemd" in machine.do(*status).stdout, within=30, what="ready")
    assert shown(machine, "own", "DynamicUser") == "yes"
    said = machine.do(HOLDFAST, "events", "hidden/0", "--socket", "/root/state/socket").stdout
    assert "/root is closed to others" in said
    machine.says("systemctl", "stop", "by-hand")
    assert shown(machine, "own", "ActiveState") == "active"
    assert "own/0" in machine.says(HOLDFAST, "down", "--engines", *words[1:])
    assert shown(machine, "own", "ActiveState") == "inactive"


def test_the_broker_serves_the_daemon_alone_and_only_what_is_narrow(machine):
    assert "Permission denied" in order(machine, {"op": "list"}, user="nobody").stderr
    machine.says("chmod", "0666", "/run/holdfast-units.sock")
    assert order(machine, {"op": "list"}, user="nobody").stdout == "", "it looks who it is, too"
    machine.says("chmod", "0600", "/run/holdfast-units.sock")
    assert json.loads(order(machine, {"op": "list"}).stdout)["units"]
    good = {"op": "start", "slot": "evil/0", "run": 1, "token": "0" * 32, "argv": ["/bin/sleep", "9"], "grace": 1}
    good |= {"env": {}, "gpus": [], "memory": None, "directory": None}
    for wrong in (
        {"slot": "evil/0\nUser=root"},
        {"slot": "../../x/0"},
        {"token": "0"},
        {"argv": ["sleep"]},
        {"argv": []},
        {"env": {"A=B\nC": "d"}},
        {"directory": "x"},
        {"gpus": ["0 rw\nUser=root"]},
        {"memory": "1\nUser=root"},
        {"grace": -1},
        {"op": "shell"},
    ):
        answer = json.loads(order(machine, {**good, **wrong}).stdout)
        assert list(answer) == ["refused"], (wrong, answer)
    assert shown(machine, "evil", "LoadState") == "not-found"
    always = {"op": "stop", "slot": "always/0", "token": "0" * 32, "grace": 0}
    assert json.loads(order(machine, always).stdout) == {"units": []}, "another run's token ends nothing"
    ready(machine, "always")
    exposure = machine.says("systemd-analyze", "security", "--no-pager", "holdfast-units").splitlines()[-1]
    assert float(exposure.split("service: ")[1].split()[0]) <= 1.0, exposure
