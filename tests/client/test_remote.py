"""Another machine's daemon by ssh, for real: what is asked there, what is left here, and what is said when it fails."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from reconciler.client.chat import Conversation, Piece
from reconciler.client.gateway import answered
from reconciler.client.remote import Remote
from reconciler.model.errors import ApiError, HoldfastError
from reconciler.model.status import GatewayStatus
from tests.api.daemon import Recorder, served, status, workload
from tests.bench.terminal import Terminal
from tests.cli.front import events, running
from tests.client.sshd import Machine, clients, machine
from tests.eventually import eventually


@pytest.fixture
def runtime(monkeypatch):
    """Where sockets go that nobody else may use. Its path is short, as it is on a machine: a socket's has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="hf-run-", dir="/tmp") as made:
        monkeypatch.setenv("XDG_RUNTIME_DIR", made)
        yield Path(made)


@pytest.fixture
def there(tmp_path, runtime):
    with machine(tmp_path / "ssh") as made:
        yield made
    eventually(lambda: not clients(made), what="no ssh is left")
    assert list(runtime.iterdir()) == []


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def soon(recorder, tmp_path):
    """A daemon on that machine."""
    with served(recorder, str(tmp_path / "there.sock")) as call:
        yield call


@pytest.fixture
def remote(there, tmp_path):
    with Remote("gpu2", ["--socket", str(tmp_path / "there.sock")], env=there.env) as made:
        yield made


def test_its_daemon_is_spoken_to_as_one_of_this_machine(remote, soon, recorder, there):
    client = remote.client
    assert client.status() == recorder.now
    assert client.restart("chat") == "chat: will do restart"
    statuses = client.statuses()
    assert next(statuses) == recorder.now
    new = status(workload("fresh"))
    soon(lambda: recorder.publish(new))
    assert next(statuses) == new
    statuses.close()
    assert [len(clients(there)), there.logins] == [1, 1], "one connection for all"


def test_many_ask_at_once_over_one_connection(remote, soon, recorder, there):
    found: list[object] = []
    asking = [threading.Thread(target=lambda: found.append(remote.client.status())) for _ in range(8)]
    for each in asking:
        each.start()
    for each in asking:
        each.join(60)
    assert (found, there.logins) == ([recorder.now] * 8, 1)


def test_nothing_is_connected_before_something_is_asked(remote, there):
    assert clients(there) == []


def test_nobody_else_may_use_what_leads_there(remote, soon, runtime):
    remote.client.status()
    (made,) = runtime.iterdir()
    assert made.stat().st_mode & 0o777 == 0o700
    assert sorted(each.stat().st_mode & 0o777 for each in made.iterdir() if each.is_socket()) == [0o600, 0o600]


def test_sockets_go_where_their_paths_are_not_too_long(there, recorder, tmp_path, runtime, monkeypatch):
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setattr(tempfile, "tempdir", str(runtime))
    with (
        served(recorder, str(tmp_path / "there.sock")),
        Remote("gpu2", ["--socket", str(tmp_path / "there.sock")], env=there.env) as remote,
    ):
        assert remote.client.status() == recorder.now
        assert (list(deep.iterdir()), len(list(runtime.iterdir()))) == ([], 1)


def test_no_ssh_outlives_us_even_when_we_are_killed(there, soon, tmp_path, runtime):
    program = (
        "import sys, time\n"
        "from reconciler.client.remote import Remote\n"
        "remote = Remote('gpu2', ['--socket', sys.argv[1]])\n"
        "stream = remote.client.statuses()\n"
        "next(stream)\n"
        "print('here', flush=True)\n"
        "time.sleep(1000)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "there.sock")],
        env=os.environ | there.env,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    assert len(clients(there)) == 1
    process.kill()
    process.communicate(timeout=60)
    eventually(lambda: not clients(there), what="ssh has ended")
    (left,) = runtime.iterdir()  # a killed process cannot tidy up
    with Remote("gpu2", ["--socket", str(tmp_path / "there.sock")], env=there.env) as remote:
        remote.client.status()
        assert len(list(runtime.iterdir())) == 1
        assert not left.exists(), "the next one does"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_verb_that_is_told_to_end_leaves_nothing_behind(there, soon, tmp_path, runtime, number):
    given = ["env", "--default-signal=HUP"]  # who started these tests may have had it ignored, as `nohup` does
    argv = [*given, sys.executable, "-m", "reconciler.cli", "events", "-f", "--host", "gpu2"]
    argv += ["--socket", str(tmp_path / "there.sock")]
    process = subprocess.Popen(argv, env=os.environ | there.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eventually(lambda: [each for made in runtime.iterdir() for each in made.iterdir() if each.name == "0"])
    process.send_signal(number)
    process.communicate(timeout=60)
    assert (process.returncode, list(runtime.iterdir())) == (-number, [])


def test_the_dashboard_leaves_nothing_behind_when_its_terminal_goes(there, soon, tmp_path, runtime):
    argv = [sys.executable, "-m", "reconciler.cli", "tui", "--host", "gpu2", "--socket", str(tmp_path / "there.sock")]
    env = there.env | {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(tmp_path)}
    with Terminal(argv, env=env) as terminal:
        terminal.until(b"chat")
        assert len(list(runtime.iterdir())) == 1
        terminal.hang_up()
        assert terminal.ended() == 128 + signal.SIGHUP
    assert list(runtime.iterdir()) == []


def test_a_connection_that_broke_off_is_made_again(remote, soon, recorder, there):
    stream = remote.client.statuses(patience=30.0)
    assert next(stream) == recorder.now
    for pid in clients(there):
        os.kill(pid, signal.SIGKILL)
    assert next(stream) == recorder.now, "the follower goes on"
    assert remote.client.info().version
    assert there.logins == 2


def test_what_just_failed_is_not_tried_at_once(there, tmp_path):
    count = tmp_path / "count"
    (tmp_path / "ssh.sh").write_text(f'#!/bin/sh\necho >>{count}\nexec ssh -F {there.place / "config"} "$@"\n')
    (tmp_path / "ssh.sh").chmod(0o755)
    there.configure(port=1)
    now = [100.0]
    with Remote("gpu2", env=there.env | {"HOLDFAST_SSH": str(tmp_path / "ssh.sh")}, clock=lambda: now[0]) as remote:
        tried = []
        for _ in range(80):
            with pytest.raises(ApiError, match="onnection refused"):
                remote.client.status()
            tried.append(len(count.read_text()))
            now[0] += 1.0
    pauses = [tried.count(number) for number in range(1, tried[-1])]
    assert pauses == [1, 1, 2, 4, 8, 16, 30]


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch /tmp/x", "gpu2 reboot", "gpu\x1b[2J"])
def test_what_is_no_machine_is_never_given_to_ssh(host):
    with pytest.raises(ApiError, match="cannot use .* as a machine; write it as after `ssh`: gpu2, or ada@gpu2"):
        Remote(host)


def told(remote: Remote) -> str:
    with pytest.raises(ApiError) as caught:
        remote.client.status()
    return str(caught.value)


def test_without_the_daemon_it_says_how_to_start_it_there(remote, recorder, tmp_path):
    at = "start it there with `holdfast up`, or `ssh gpu2 holdfast up --detach`"
    assert told(remote) == f"cannot reach the daemon on gpu2: nothing listens there; {at}"
    with served(recorder, str(tmp_path / "there.sock")):
        assert remote.client.status() == recorder.now, "and it is there as soon as it has been started"
    assert "nothing listens there" in told(remote)


def test_a_name_that_nobody_knows(there):
    with Remote("nowhere.invalid", env=there.env) as remote:
        assert told(remote) == (
            "cannot reach nowhere.invalid: its name is not known here; write it as after `ssh`, or give it an address "
            "in ~/.ssh/config"
        )


def test_nobody_listens(there, remote):
    there.stop()
    assert told(remote) == (
        f"cannot reach gpu2: ssh: connect to host 127.0.0.1 port {there.port}: Connection refused; run `ssh -F "
        f"{there.place / 'config'} gpu2` once by hand"
    )


@pytest.mark.parametrize("key", ["other", "locked"])
def test_a_key_that_is_not_taken_or_would_have_to_be_unlocked(there, remote, key):
    there.configure(key=key)
    assert told(remote) == (
        f"cannot reach gpu2: it takes none of the keys at hand; run `ssh -F {there.place / 'config'} gpu2` once by hand"
        ", or `ssh-add` its key"
    )


def test_a_host_key_that_is_not_known(there, remote):
    (there.place / "known").write_text("")
    assert told(remote).startswith("cannot reach gpu2: its host key is not known here; run `ssh -F ")


def test_a_host_key_that_has_changed(there, remote):
    other = (there.place / "other.pub").read_text()
    (there.place / "known").write_text(f"[127.0.0.1]:{there.port} {other}")
    assert told(remote).startswith("cannot reach gpu2: it shows another host key than it did; if that is right, ")


def test_holdfast_is_not_there(there):
    with Remote("gpu2", env=there.env | {"HOLDFAST_REMOTE": "no-holdfast"}) as remote:
        assert told(remote) == (
            "cannot reach gpu2: there is no `no-holdfast`; install it there, or say where it is: "
            "HOLDFAST_REMOTE=/PATH/holdfast"
        )


def test_holdfast_there_cannot_be_asked_yet(there):
    old = "sh -c 'echo \"holdfast: argument VERB: invalid choice: '\"'where'\"' (choose from up)\" >&2; exit 2'"
    with Remote("gpu2", env=there.env | {"HOLDFAST_REMOTE": old}) as remote:
        assert told(remote).startswith("cannot reach gpu2: holdfast there is of an older version than ")


def test_a_machine_that_passes_on_no_sockets(there, remote, soon):
    there.stop()
    there.start("AllowStreamLocalForwarding no")
    assert told(remote).endswith("; if it runs, sshd there must be allowed AllowStreamLocalForwarding")


@pytest.mark.parametrize("path", ["/tmp/a:b", "/tmp/${HOME}", "/tmp/%h", "relative", "/tmp/a b", "/tmp/a\nb"])
def test_a_path_that_ssh_would_take_for_something_else_is_refused(there, tmp_path, path):
    where = {"version": "1", "host": "h", "fleet": "/f", "state": "/s", "socket": path}
    (tmp_path / "where.json").write_text(json.dumps(where) + "\n")
    with Remote("gpu2", env=there.env | {"HOLDFAST_REMOTE": f"cat {tmp_path / 'where.json'} #"}) as remote:
        assert "cannot use the daemon's socket on gpu2: " in told(remote)


def test_a_shell_that_greets_and_settings_made_for_a_terminal_are_no_hindrance(there, soon, recorder, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        forward = f"LocalForward {taken.getsockname()[1]} localhost:1"
        shell = ("RequestTTY force", "RemoteCommand sleep 100", "ControlMaster auto", "ExitOnForwardFailure yes")
        there.configure(*shell, forward, f"ControlPath {tmp_path / 'mine-%r@%h:%p'}", "ForkAfterAuthentication yes")
        greeting = f"echo welcome to gpu2; echo '{{}}'; {there.env['HOLDFAST_REMOTE']}"
        words = ["--socket", str(tmp_path / "there.sock")]
        with Remote("gpu2", words, env=there.env | {"HOLDFAST_REMOTE": greeting}) as remote:
            assert remote.client.status() == recorder.now


def test_its_gateway_is_reached_by_the_same_connection(remote, soon, recorder, there):
    with running() as front:
        front.says = events("Hello ", "there")
        recorder.now = status(workload("chat"), gateway=GatewayStatus(listen=(front.url,), connected=True))
        gate = remote.client.gateway()
        assert (gate.url, gate.on) == (front.url, "gpu2")
        said = [event.text for event in Conversation(lambda: gate, "chat").ask("hi") if isinstance(event, Piece)]
        assert (said, there.logins) == (["Hello ", "there"], 1)
    with pytest.raises(HoldfastError) as caught, answered(gate, "GET", "/v1/models"):
        pass
    assert str(caught.value).startswith(f"cannot reach the gateway at {front.url} on gpu2: ")
    assert str(caught.value).endswith("; start it with `holdfast up` on gpu2")


def test_without_a_gateway_there_it_says_what_to_start(remote, soon):
    with pytest.raises(HoldfastError, match="cannot reach the gateway: none runs on gpu2; start it with"):
        remote.client.gateway()


def cli(there: Machine, tmp_path, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "reconciler.cli", *words, "--host", "gpu2", "--socket", str(tmp_path / "there.sock")]
    return subprocess.run(argv, env=os.environ | there.env, capture_output=True, text=True, check=False, timeout=60)


def test_verbs_are_meant_for_the_machine_that_is_named(there, soon, recorder, tmp_path):
    assert (
        json.loads(cli(there, tmp_path, "status", "--json").stdout)["workloads"].keys() == recorder.now.workloads.keys()
    )
    done = cli(there, tmp_path, "restart", "chat/1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "chat: will do restart\n", "")
    where = json.loads(cli(there, tmp_path, "where", "--json").stdout)
    assert (where["socket"], where["away"]) == (str(tmp_path / "there.sock"), "")
    eventually(lambda: not clients(there), what="no ssh is left")


def test_where_the_gateway_is_is_said_once(there, tmp_path):
    done = cli(there, tmp_path, "chat", "chat", "hi", "--url", "http://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (
        1,
        "holdfast: cannot use --host beside --url: either is where the gateway is\n",
    )
