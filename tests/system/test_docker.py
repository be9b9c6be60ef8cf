"""Containers on a real Docker engine, kept by a real daemon."""

import json
import shutil
import socket
import sysconfig
import urllib.request

import pytest

from reconciler.cli import doctor
from tests.dockerd import IMAGE, Dockerd, Podman
from tests.eventually import eventually
from tests.proxy import Proxy
from tests.registry import Registry
from tests.system.machine import ROOT, tree

pytestmark = pytest.mark.system
either = pytest.mark.parametrize("dockerd", [Dockerd, Podman], indirect=True)
WEB = ("httpd", "-f", "-p", "{port}", "-h", "/bin")


def contained(box, name, *command, **fields):
    """A file that declares one Service in a container; it sleeps where no command is given."""
    made = {"image": IMAGE, **fields.pop("docker", {})}
    box.service(name, *(command or ("sleep", "100000")), runtime={"docker": made}, **fields)


@either
def test_a_container_is_started_answers_on_loopback_is_stopped_and_none_is_left(dockerd, box):
    box.ports(21000)
    contained(box, "web", *WEB, health={"path": "/busybox"})
    box.daemon()
    box.converged("web")
    there = dockerd.one("holdfast-web-0")
    assert there["State"]["Pid"] == box.replica("web/0").pid
    assert there["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert there["NetworkSettings"]["Ports"] == {"21000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "21000"}]}
    box.remove("web.yaml")
    box.converged()
    assert dockerd.containers() == []
    assert not (box.state / "containers" / "web.0").exists()


@either
def test_a_killed_daemon_leaves_containers_and_the_next_one_adopts_them_untouched(dockerd, box):
    contained(box, "one", replicas=2)
    box.daemon()
    box.converged("one")
    before = {each["Id"]: each["State"]["StartedAt"] for each in dockerd.containers()}
    assert len(before) == 2
    seen = len(box.events())
    box.kill()
    box.daemon()
    box.converged("one")
    assert {each["Id"]: each["State"]["StartedAt"] for each in dockerd.containers()} == before
    later = box.events()[seen:]
    assert not [event for event in later if event.message.startswith(("starting", "stopping", "updating"))]
    assert eventually(lambda: box.replica("one/0").state == "ready")


@either
def test_an_exit_is_told_with_its_status_and_last_words_and_the_first_failure_is_kept(dockerd, box):
    contained(box, "bad", "sh", "-c", "echo it was here; echo cannot find the flux; exit 3")
    box.daemon()
    told = box.told("exited with status 3", "cannot find the flux", subject="bad/0")
    assert told.severity == "error"
    eventually(lambda: box.replica("bad/0").run >= 3, what="it is tried again and again")
    first = box.cli("logs", "bad", "--run", "first")
    assert first.stdout == "it was here\ncannot find the flux\n", first.stderr


@either
def test_a_container_killed_for_memory_says_so_with_its_limit(dockerd, box):
    contained(box, "greedy", "tail", "/dev/zero", memory="24MiB")
    box.daemon()
    box.told("out of memory", "its limit of 24.0 MiB", subject="greedy/0")
    [made, *_] = eventually(dockerd.containers, what="the one that is tried again")
    assert made["HostConfig"]["Memory"] == 24 * 2**20


@either
def test_one_that_is_asked_to_end_has_its_grace_to_do_so(dockerd, box):
    box.ports(21040)
    contained(box, "polite", "sh", "-c", "trap 'sleep 0.5; exit 0' TERM; while :; do sleep 0.1; done")
    box.daemon()
    box.converged("polite")
    box.remove("polite.yaml")
    assert "killed" not in box.told("was stopped", subject="polite/0").message


@either
def test_one_that_ignores_sigterm_is_killed_after_the_grace(dockerd, box):
    box.ports(21010)
    contained(box, "deaf", "sh", "-c", "trap '' TERM; while :; do sleep 1; done", update={"grace": "1s"})
    box.daemon()
    box.converged("deaf")
    box.remove("deaf.yaml")
    box.told("it did not end on SIGTERM and was killed", subject="deaf/0")
    box.converged()
    assert dockerd.containers() == []


@either
@pytest.mark.parametrize("how", ["remove", "stop"])
def test_what_somebody_does_by_hand_is_shown_and_mended(dockerd, box, how):
    contained(box, "one", *WEB)
    box.ports(21020)
    box.daemon()
    box.converged("one")
    before = dockerd.one("holdfast-one-0")["Id"]
    if how == "remove":
        dockerd.client.remove_container(before, force=True)
    else:
        dockerd.client.stop(before, timeout=5)
    if isinstance(dockerd, Podman):
        box.told("Exited", subject="one/0")  # it does not say who did it
    else:
        box.told("somebody else", "" if how == "remove" else "had docker send it signal 15", subject="one/0")
    eventually(lambda: box.replica("one/0").run == 2 and box.row("one").ready, what="it runs again")
    assert [each["Name"] for each in dockerd.containers()] == ["/holdfast-one-0"]
    assert dockerd.one("holdfast-one-0")["Id"] != before


def test_a_restart_of_the_engine_is_told_once_and_everything_comes_back(dockerd, box):
    contained(box, "many", replicas=6)
    box.daemon()
    box.converged("many")
    seen = len(box.events())
    try:
        dockerd.stop()
        box.told("cannot reach docker", subject="daemon")
        eventually(lambda: {one.state for one in box.row("many").replicas} == {"unknown"}, what="all are unknown")
    finally:
        dockerd.start()
    box.told("no longer so: cannot reach docker", subject="daemon")
    eventually(lambda: all(one.run == 2 for one in box.row("many").replicas), what="each was started once more")
    box.converged("many")
    later = box.events()[seen:]
    assert len([each for each in later if each.subject == "daemon"]) == 2, "gone, and back"
    assert not [each for each in later if each.severity == "error" and each.subject != "daemon"]
    assert not [each for each in later if "cannot see" in each.message or each.message == "is ready again"]
    assert {one.restarts for one in box.row("many").replicas} == {0}, "it is no failure of theirs"


def test_an_engine_that_restarts_without_its_containers_leaves_them_untouched(dockerd, box):
    dockerd.stop()
    dockerd.start("--live-restore")
    try:
        contained(box, "one", "sh", "-c", "while :; do echo tick; sleep 0.1; done")
        box.daemon()
        box.converged("one")
        before = dockerd.one("holdfast-one-0")["State"]["StartedAt"]
        dockerd.stop()
        box.told("cannot reach docker", subject="daemon")
        dockerd.start("--live-restore")
        box.converged("one")
        assert dockerd.one("holdfast-one-0")["State"]["StartedAt"] == before
        assert box.replica("one/0").run == 1
    finally:
        dockerd.clear()
        dockerd.stop()
        dockerd.start()


@pytest.mark.parametrize("dockerd", [Podman], indirect=True)
def test_podmans_service_may_go_and_come(dockerd, box):
    contained(box, "one")
    box.daemon()
    box.converged("one")
    (before,) = dockerd.containers()
    try:
        dockerd.stop()
        box.told("cannot reach docker", subject="daemon")
    finally:
        dockerd.start()
    box.told("no longer so: cannot reach docker", subject="daemon")
    box.converged("one")
    (after,) = dockerd.containers()
    assert (after["Id"], after["State"]["Pid"]) == (before["Id"], before["State"]["Pid"])


def test_an_engine_that_hangs_makes_its_instances_unknown_and_no_others(dockerd, box, monkeypatch):
    proxy = Proxy(f"{dockerd.place}/p", str(dockerd.socket))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{proxy.path}")
    contained(box, "inside")
    box.service("beside")
    box.daemon()
    box.converged("inside", "beside")
    before = dockerd.one("holdfast-inside-0")["Id"]
    proxy.hanging = True
    eventually(lambda: box.replica("inside/0").state == "unknown", within=40.0, what="it is unknown")
    contained(box, "later")
    box.service("also")
    eventually(lambda: (now := box.row("also")) and now.ready, what="what is no container is started all the same")
    assert box.row("beside").ready
    assert box.stalled("later", "Unknown")
    proxy.hanging = False
    box.converged("inside", "beside", "also", "later")
    assert dockerd.one("holdfast-inside-0")["Id"] == before
    proxy.close()
    monkeypatch.setenv("DOCKER_HOST", dockerd.host)


def test_a_list_that_is_cut_off_makes_nothing_absent(dockerd, box, monkeypatch):
    proxy = Proxy(f"{dockerd.place}/p", str(dockerd.socket))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{proxy.path}")
    contained(box, "inside", replicas=2)
    box.daemon()
    box.converged("inside")
    before = {each["Id"] for each in dockerd.containers()}
    proxy.cut = 700
    eventually(lambda: box.replica("inside/0").state == "unknown", within=40.0, what="it is unknown")
    proxy.cut = None
    box.converged("inside")
    assert {each["Id"] for each in dockerd.containers()} == before
    proxy.close()
    monkeypatch.setenv("DOCKER_HOST", dockerd.host)


def test_an_image_that_is_not_there_is_fetched_first_and_holds_nothing_else_up(dockerd, box):
    """What runs goes on until the image of what it is to become is there."""
    registry = Registry()
    try:
        contained(box, "slow")
        box.daemon()
        box.converged("slow")
        before = dockerd.one("holdfast-slow-0")["Id"]
        contained(box, "slow", docker={"image": registry.image})
        box.service("beside")
        box.told(f"fetching image:{registry.image}", subject="slow/0")
        eventually(lambda: (now := box.row("beside")) and now.ready, what="the other is started meanwhile")
        eventually(lambda: " of 2.5 MiB" in box.row("slow").conditions[1].message, what="status says how far")
        assert dockerd.one("holdfast-slow-0")["Id"] == before
        assert box.row("slow").ready
        registry.gate.set()
        box.told(f"image:{registry.image} is here, whole and checked", subject="slow")
        eventually(lambda: [each["Config"]["Image"] for each in dockerd.containers()] == [registry.image])
        box.converged("slow", "beside")
    finally:
        registry.close()


def test_a_fetch_of_an_image_that_nothing_needs_any_more_ends(dockerd, box):
    registry = Registry()
    try:
        contained(box, "slow", docker={"image": registry.image})
        box.service("beside")
        box.daemon()
        eventually(lambda: (now := box.row("slow")) and " of 2.5 MiB" in now.conditions[1].message)
        box.remove("slow.yaml")
        box.told(f"no longer fetching image:{registry.image}", subject="slow/0")
        eventually(lambda: registry.hung_up, what="docker has let go of the registry")
    finally:
        registry.close()


def test_an_image_that_is_not_what_its_digest_says_is_never_run(dockerd, box):
    registry = Registry()
    registry.gate.set()
    registry.fault = "lie"
    try:
        contained(box, "one", docker={"image": registry.image})
        box.daemon()
        box.told("cannot fetch", registry.image, subject="one")
        assert dockerd.containers() == []
        registry.fault = None
        box.converged("one")
    finally:
        registry.close()


def test_an_image_whose_fetch_is_cut_off_comes_whole_in_the_end(dockerd, box):
    registry = Registry()
    registry.gate.set()
    registry.fault = "cut"
    try:
        contained(box, "one", docker={"image": registry.image})
        box.daemon()
        box.converged("one")
        assert any(registry.sent), "it goes on where it was cut off"
    finally:
        registry.close()


def test_what_the_registry_says_is_told_and_tried_again_later(dockerd, box):
    registry = Registry()
    try:
        contained(box, "none", docker={"image": f"{registry.host}/none:1"})
        box.daemon()
        box.told("cannot fetch", "manifest", subject="none")
        assert box.stalled("none", "FetchFailed")
    finally:
        registry.close()


@either
def test_a_container_of_ours_that_the_disk_knows_nothing_of_is_found_by_its_label(dockerd, box):
    contained(box, "one")
    contained(box, "two")
    box.daemon()
    box.converged("one", "two")
    before = dockerd.one("holdfast-one-0")["Id"]
    box.kill()
    shutil.rmtree(box.state / "containers" / "one.0")
    box.daemon()
    box.converged("one", "two")
    assert dockerd.one("holdfast-one-0")["Id"] == before
    assert box.replica("one/0").run == 1


@either
def test_secrets_reach_the_container_and_no_label_log_or_event(dockerd, box):
    (box.state / "secrets").mkdir(parents=True, mode=0o700)
    (box.state / "secrets" / "key").write_text("canary-4242")
    contained(box, "one", "sh", "-c", "echo ${#KEY} letters; sleep 100000", env={"KEY": {"secret": "key"}})
    box.daemon()
    box.converged("one")
    there = dockerd.one("holdfast-one-0")
    assert "KEY=canary-4242" in there["Config"]["Env"]
    assert "canary" not in str(there["Config"]["Labels"]) + str(there["Args"]) + str(there["Config"]["Cmd"])
    eventually(lambda: box.cli("logs", "one").stdout == "11 letters\n", what="it was given")
    written = [path for path in box.state.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    assert not [path for path in written if b"canary" in path.read_bytes()]


@either
def test_a_change_of_the_runtime_replaces_the_instance(dockerd, box):
    box.service("one")
    box.daemon()
    box.converged("one")
    contained(box, "one")
    eventually(lambda: dockerd.containers() and box.row("one").ready and box.replica("one/0").run == 2)
    box.service("one")
    eventually(lambda: not dockerd.containers() and box.row("one").ready and box.replica("one/0").run == 3)
    assert len(box.engines("one/0")) == 1


def test_llama_cpp_serves_in_a_container_is_adopted_edited_and_leaves_nothing(dockerd, box, tmp_path):
    """Debian and its python are the image; what llama-server is there, the wheel and its model are mounted."""
    dockerd.load(tree(), "debian:1")
    server = tmp_path / "llama-server"
    server.write_text('#!/bin/sh\nexec python3 -m reconciler.act.llama_server "$@"\n')
    server.chmod(0o755)
    mounts = {server: "/app/llama-server", ROOT: "/opt/holdfast", sysconfig.get_path("platlib"): "/opt/wheels"}
    declared = {
        "kind": "Model",
        "name": "demo",
        "source": f"file:{ROOT}/models/demo.gguf",
        "gpus": 0,
        "context": 256,
        "env": {"PYTHONPATH": "/opt/holdfast:/opt/wheels"},
        "runtime": {"docker": {"image": "debian:1", "volumes": [f"{a}:{b}:ro" for a, b in mounts.items()]}},
    }
    box.ports(21030)
    box.write("demo.yaml", json.dumps(declared))
    box.daemon()
    box.converged("demo")
    assert _chat(box)
    (there,) = dockerd.containers()
    assert {mount["Destination"]: mount["RW"] for mount in there["Mounts"]}[f"{ROOT}/models/demo.gguf"] is False
    box.kill()
    box.daemon()
    box.converged("demo")
    assert _chat(box)
    assert [each["Id"] for each in dockerd.containers()] == [there["Id"]]
    box.write("demo.yaml", json.dumps({**declared, "context": 512}))
    eventually(lambda: [each["Args"][-1] for each in dockerd.containers()] == ["512"], what="it is another")
    box.converged("demo")
    assert _chat(box)
    port = box.replica("demo/0").port
    box.remove("demo.yaml")
    box.converged()
    assert dockerd.containers() == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def _chat(box) -> str:
    """What the model answers through its port."""
    asked = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    address = f"{box.row('demo').endpoints[0].address}/v1/chat/completions"
    request = urllib.request.Request(address, json.dumps(asked).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["choices"][0]["message"]["role"]


def test_doctor_tells_what_docker_lacks(dockerd, box, monkeypatch):
    contained(box, "one")
    told = [*doctor.containers(str(box.fleet))]
    assert [one.level for one in told] == ["ok", "warn"]
    assert "live-restore is off" in told[1].what
    (box.fleet / "chat.yaml").write_text("kind: Model\nname: chat\nsource: hf:o/r\nengine: vllm\nruntime: docker\n")
    told = [*doctor.containers(str(box.fleet))]
    assert [one.level for one in told] == ["ok", "warn", "bad"]
    assert "no way to give GPUs" in told[2].what
    monkeypatch.setenv("DOCKER_HOST", f"unix://{box.state}/none")
    (lost,) = doctor.containers(str(box.fleet))
    assert (lost.level, lost.what) == ("bad", "docker: cannot be reached: no such file or directory")


@either
def test_a_strangers_container_of_that_name_is_left_alone_and_named(dockerd, box):
    dockerd.client.create_container_from_config({"Image": IMAGE, "Cmd": ["sleep", "1"]}, "holdfast-one-0")
    contained(box, "one")
    box.daemon()
    box.told("another container has its name", "docker rm holdfast-one-0", subject="one/0")
    assert not dockerd.one("holdfast-one-0")["Config"]["Labels"]
