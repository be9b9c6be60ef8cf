"""Verbs that need no daemon: validate, plan, inventory, schema, doctor."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from reconciler.cli.doctor import daemon, fleet, secrets, state
from reconciler.cli.places import Places
from tests.api.daemon import status

GOOD = "kind: Service\nname: tiny\ncommand: [sleep, infinity]\n"
CHAT = "kind: Model\nname: chat\nsource: hf:Qwen/Qwen3-8B\nengine: vllm\ngpus: 1\nmemory: 20GiB\ncontext: 8192\n"
MACHINE = """
node: box1
memory: 512GiB
gpus:
  - {index: 0, uuid: GPU-aaa, model: NVIDIA H200, memory: 141GiB}
"""


@pytest.fixture
def files(tmp_path) -> Path:
    made = tmp_path / "fleet.d"
    made.mkdir()
    (made / "tiny.yaml").write_text(GOOD)
    return made


@pytest.fixture
def machine(tmp_path) -> str:
    path = tmp_path / "box1.yaml"
    path.write_text(MACHINE)
    return str(path)


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


def test_a_plan_for_another_machine(run, files, machine):
    (files / "chat.yaml").write_text(CHAT)
    done = run("plan", str(files), "--inventory", machine)
    assert done.status == 0
    assert "+ chat/0  start  vllm on gpu 0, port 9000  not running" in done.out
    assert "0.0 → 20.0 of 141.0 GiB" in done.out


def test_a_plan_as_json_has_changes_and_passes(run, files, machine):
    found = json.loads(run("plan", str(files), "--inventory", machine, "--json").out)
    assert [(one["mark"], one["subject"]) for one in found["changes"]] == [("+", "tiny/0")]
    assert found["passes"][0]["actions"][0]["launch"]["argv"][-1] == "infinity"
    assert found["passes"][-1]["actions"] == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [(GOOD, 2), (f"{GOOD}paused: true\n", 0), ("kind: Service\n", 1)],
    ids=["changes", "nothing", "an error"],
)
def test_the_detailed_exit_status(run, files, machine, content, expected):
    (files / "tiny.yaml").write_text(content)
    assert run("plan", str(files), "--inventory", machine, "--detailed-exitcode").status == expected
    assert run("plan", str(files), "--inventory", machine).status == 0


@pytest.mark.usefixtures("soon")
def test_a_plan_takes_its_facts_from_the_daemon_where_one_is(run, files):
    """The recorder's daemon runs chat/0 on a GPU that this machine does not have."""
    done = run("plan", str(files))
    assert "- chat/0  " in done.out
    assert "gpu 0  H200" in done.out


def git(directory: Path, *words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(directory), *identity, *words], check=True, capture_output=True)


def test_a_plan_against_a_revision_shows_what_the_edit_would_do(run, files, machine):
    (files / "chat.yaml").write_text(CHAT)
    git(files.parent, "init", "-q")
    git(files.parent, "add", "fleet.d")
    git(files.parent, "commit", "-qm", "before")
    (files / "chat.yaml").write_text(CHAT.replace("8192", "16384"))
    (files / "tiny.yaml").write_text(f"{GOOD}priority: 7\n")
    done = run("plan", str(files), "--inventory", machine, "--against", "HEAD")
    assert done.status == 0
    assert "± chat/0  replace  context 8192 → 16384" in done.out
    assert "~ tiny    live     priority default → 7" in done.out
    same = run("plan", str(files), "--inventory", machine, "--against", "no-such-branch")
    assert (same.status, same.out) == (1, "")
    assert "no-such-branch" in same.err


@pytest.mark.usefixtures("soon")
def test_a_plan_against_a_revision_leaves_what_runs_now_out_of_account(run, files):
    """The daemon's GPU is held by its own chat/0, which a machine at that revision would not run beside another."""
    (files / "chat.yaml").write_text(CHAT.replace("20GiB", "100GiB"))
    git(files.parent, "init", "-q")
    git(files.parent, "add", "fleet.d")
    git(files.parent, "commit", "-qm", "before")
    (files / "chat.yaml").write_text(CHAT.replace("20GiB", "100GiB").replace("8192", "16384"))
    done = run("plan", str(files), "--against", "HEAD")
    assert "± chat/0  replace  context 8192 → 16384" in done.out
    assert "101.0 of 141.0 GiB  chat/0 pid 7 x" in done.out


def test_an_inventory_that_is_wrong_says_where(run, files, tmp_path):
    (tmp_path / "bad.yaml").write_text("node: box1\nmemory: plenty\n")
    done = run("plan", str(files), "--inventory", str(tmp_path / "bad.yaml"))
    assert done.status == 1
    assert "bad.yaml:2:" in done.err


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
    assert sorted(os.listdir(into)) == ["control.openapi.json", "fleet.schema.json"]
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


def test_doctor_looks_at_the_disk_where_the_state_will_be(tmp_path):
    assert [one.level for one in state(str(tmp_path / "not" / "yet"))][-1] in ("ok", "warn")
