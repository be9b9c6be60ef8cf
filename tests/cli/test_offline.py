"""Verbs that need no daemon: validate, inventory, schema, doctor."""

import json
import os
import socket as sockets
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from reconciler.cli.doctor import beside, daemon, engines, fleet, secrets, state
from reconciler.cli.doctor_gpus import cards, exposed
from reconciler.cli.places import Places
from reconciler.model.observation import Gpu
from reconciler.model.status import Replica
from tests.api.daemon import status, workload
from tests.hub_server import hub_server

GOOD = "kind: Service\nname: tiny\ncommand: [sleep, infinity]\n"
CHAT = "kind: Model\nname: chat\nsource: hf:Qwen/Qwen3-8B\nengine: vllm\ngpus: 1\nmemory: 20GiB\ncontext: 8192\n"


@pytest.fixture
def files(tmp_path) -> Path:
    made = tmp_path / "fleet.d"
    made.mkdir()
    (made / "tiny.yaml").write_text(GOOD)
    return made


def test_good_files_are_counted(run, files):
    (files / "chat.yaml").write_text(CHAT)
    done = run("validate", str(files))
    assert done.status == 0
    assert done.out == f"{files}: 1 model, 1 service good in 2 files\n"
    assert done.err == ""


def test_every_problem_is_told_with_its_place(run, files):
    (files / "x.yaml").write_text("kind: Service\nname: x\ncommand: [sleep]\npriority: 5000\nreplicsa: 2\n")
    done = run("validate", str(files))
    assert done.status == 1
    lines = done.err.splitlines()
    assert len(lines) == 2
    assert "x.yaml:4:11: priority: " in lines[0]
    assert "x.yaml:5:1: replicsa: " in lines[1]
    assert "1 service good in 1 file; 2 problems in 1 file" in done.out


def test_problems_as_json(run, files):
    (files / "x.yaml").write_text("kind: Service\nname: x\n")
    done = run("validate", str(files), "--json")
    found = json.loads(done.out)
    assert (done.status, found["good"], found["problems"][0]["line"]) == (1, ["tiny"], 1)


def test_a_directory_that_is_not_there_is_a_problem(run, tmp_path):
    done = run("validate", str(tmp_path / "nowhere"))
    assert done.status == 1
    assert "nowhere" in done.err


def test_this_machine_s_inventory_can_be_planned_with(run, files, tmp_path):
    done = run("inventory")
    assert done.status == 0
    assert yaml.safe_load(done.out)["memory"]
    (tmp_path / "here.yaml").write_text(done.out)
    assert run("plan", str(files), "--inventory", str(tmp_path / "here.yaml")).status == 0


def test_schemas_are_written_once_and_checked(run, tmp_path):
    into = tmp_path / "schemas"
    assert run("schema", "--check", "--into", str(into)).status == 1
    assert run("schema", "--into", str(into)).status == 0
    assert sorted(os.listdir(into)) == ["control.openapi.json", "fleet.schema.json", "plan.schema.json"]
    assert run("schema", "--into", str(into)).out == "all schemas are current\n"
    (into / "fleet.schema.json").write_text("{}")
    done = run("schema", "--check", "--into", str(into))
    assert done.status == 1
    assert "fleet.schema.json is not current; run `holdfast schema`" in done.err


def test_doctor_says_how_to_mend_each_thing(run, files, tmp_path):
    (tmp_path / "state").mkdir(mode=0o755)
    os.chmod(tmp_path / "state", 0o755)
    done = run("doctor", "--fleet", str(files))
    assert done.status == 1
    lines = done.out.splitlines()
    at = next(number for number, line in enumerate(lines) if "lets others in" in line)
    assert lines[at].startswith("bad   ")
    assert lines[at + 1].strip() == f"chmod 0700 {tmp_path / 'state'}"
    os.chmod(tmp_path / "state", 0o700)
    assert run("doctor", "--fleet", str(files)).status == 0


def test_doctor_says_where_engines_are_that_few_have(monkeypatch, tmp_path):
    (tmp_path / "tritonserver").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = [finding.what for finding in engines()]
    assert f"Triton: {tmp_path / 'tritonserver'}" in told
    assert not any("SGLang" in what for what in told)


def test_doctor_finds_secrets_that_others_may_read(tmp_path):
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "token").write_text("x")
    os.chmod(tmp_path / "secrets" / "token", 0o644)
    (found,) = secrets(str(tmp_path))
    assert (found.level, found.mend) == ("bad", f"chmod 0600 {tmp_path / 'secrets' / 'token'}")
    os.chmod(tmp_path / "secrets" / "token", 0o600)
    assert [one.level for one in secrets(str(tmp_path))] == ["ok"]


def test_doctor_finds_broken_files_and_a_cache_that_is_too_large(files, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "weights").write_bytes(b"x" * 100_000)
    (files / "node.yaml").write_text(f"kind: Node\nname: local\ncache: {{path: {cache}, size: 10000}}\n")
    assert [one.level for one in fleet(str(files))] == ["ok", "warn"]
    (files / "x.yaml").write_text("kind: Nonsense\n")
    assert "bad" in [one.level for one in fleet(str(files))]
    assert [one.level for one in fleet(str(tmp_path / "nowhere"))] == ["bad"]


def test_doctor_tells_a_daemon_that_is_down_from_one_that_is_ill(tmp_path, recorder, socket, soon):
    gone = Places(fleet="f", state=str(tmp_path), socket=str(tmp_path / "gone.sock"))
    assert [(one.level, one.mend) for one in daemon(gone)] == [("warn", "holdfast up")]
    there = Places(fleet="f", state=str(tmp_path), socket=socket)
    assert [one.level for one in daemon(there)] == ["ok"]
    recorder.now = status(degraded=("cannot write the history",))
    assert [one.level for one in daemon(there)] == ["ok", "bad"]


def test_doctor_finds_an_ollama_that_is_not_ours():
    with hub_server(plain={"/api/ps": b'{"models": [{"name": "qwen3:4b", "size_vram": 5368709120}]}'}) as other:
        (found,) = beside(int(other.base.rpartition(":")[2]))
        assert (found.level, "with 5.0 GiB on GPUs" in found.what) == ("warn", True)
    with hub_server(plain={"/api/ps": b"[]"}) as stranger:
        assert not [*beside(int(stranger.base.rpartition(":")[2]))]
    assert not [*beside(1)]


def test_doctor_looks_at_the_disk_where_the_state_will_be(tmp_path):
    assert [one.level for one in state(str(tmp_path / "not" / "yet"))][-1] in ("ok", "warn")


def test_doctor_tells_what_stands_in_the_way_of_gpus(tmp_path):
    card = Gpu(index=0, uuid="GPU-a", model="NVIDIA L4", memory=24 * 2**30, used=0)
    assert [(one.level, one.what) for one in cards((card,), {0: True})][:1] == [("ok", "persistence mode is on")]
    loose, *_ = cards((card,), {0: False, 1: True})
    assert (loose.level, "gpu 0: persistence mode is off" in loose.what) == ("warn", True)
    sick, *_ = cards((replace(card, cordoned="XID 79"),), {})
    assert (sick.level, sick.what, sick.mend) == ("bad", "gpu 0 is cordoned: XID 79", "nvidia-smi -q -i GPU-a")
    amd = replace(card, maker="amd")
    assert [one.level for one in cards((amd,), {}, kfd=str(tmp_path / "kfd"))] == ["bad"]
    (tmp_path / "kfd").touch()
    assert [*cards((amd,), {}, kfd=str(tmp_path / "kfd"))] == []


def test_doctor_asks_for_the_container_toolkit_where_there_is_docker(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    card = Gpu(index=0, uuid="GPU-a", model="NVIDIA L4", memory=24 * 2**30, used=0)
    assert [*cards((card,), {})] == []
    for name, level in (("docker", "warn"), ("nvidia-ctk", "ok")):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert [one.level for one in cards((card,), {})] == [level]


def test_doctor_finds_engines_that_others_can_reach():
    with sockets.create_server(("127.0.0.1", 0)) as ours, sockets.create_server(("0.0.0.0", 0)) as open_:
        rows = {}
        for name, listener in (("mine", ours), ("open", open_)):
            port = listener.getsockname()[1]
            replica = Replica(slot=f"{name}/0", state="ready", pid=1, port=port)
            rows[name] = replace(workload(name), replicas=(replica,))
        (found,) = exposed(status(*rows.values()))
    assert found.level == "warn"
    assert found.what.startswith("open/0 listens on port ")
