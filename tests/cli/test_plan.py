"""`holdfast plan`: for this machine, for one written down, against another revision; text, Markdown, JSON."""

import fcntl
import json
import os
import pty
import re
import socket as listener
import struct
import subprocess
import sys
import termios
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reconciler.cli.plan_schema import FILE, plan_schema
from reconciler.cli.plan_schema import write as write_schema
from tests.cli.printed import DOCUMENTS, printed
from tests.engines import gguf_files, shapes

ROOT = Path(__file__).resolve().parent.parent.parent
GOOD = "kind: Service\nname: tiny\ncommand: [sleep, infinity]\n"
CHAT = """\
kind: Model
name: chat
source: hf:Qwen/Qwen3-8B
engine: vllm
gpus: 1
memory: 20GiB
context: 8192
update: {strategy: replace}
"""
LOCAL = "kind: Model\nname: local\nsource: file:../models/not-here.gguf\ngpus: 0\n"
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
    assert "▇▇▇▇▇▇▇▁▁▁  101.0 of 141.0 GiB  chat/0 100.0, pid 7 x 1.0" in done.out


def test_an_inventory_that_is_wrong_says_where(run, files, tmp_path):
    (tmp_path / "bad.yaml").write_text("node: box1\nmemory: plenty\n")
    done = run("plan", str(files), "--inventory", str(tmp_path / "bad.yaml"))
    assert done.status == 1
    assert "bad.yaml:2:" in done.err


@pytest.fixture
def repository(files) -> Path:
    """A repository with one commit, of a service, a model and a model in a local file."""
    (files / "chat.yaml").write_text(CHAT)
    (files / "local.yaml").write_text(LOCAL)
    git(files.parent, "init", "-q", "-b", "main")
    commit(files.parent, "before")
    return files.parent


def commit(repository: Path, message: str) -> None:
    git(repository, "add", "--all", "fleet.d")
    git(repository, "commit", "-qm", message)


def test_nothing_changed_since_a_revision_is_nothing_to_do(run, repository, machine):
    """A local file's path, relative to the fleet, is the same there: the model is not replaced."""
    done = run("plan", str(repository / "fleet.d"), "--inventory", machine, "--against", "HEAD")
    assert done.out.endswith(" 2 models · 1 service · nothing to do\n")


@pytest.mark.parametrize(
    "revision", ["before-tag", "main", "HEAD~1", "origin/main", "@{-1}", "main^{}", "FULL", "SHORT"]
)
def test_whatever_names_a_commit_is_a_revision(run, repository, machine, revision, monkeypatch):
    git(repository, "tag", "-a", "before-tag", "-m", "tagged")
    git(repository, "checkout", "-q", "-b", "topic")
    (repository / "fleet.d/chat.yaml").write_text(CHAT.replace("8192", "16384"))
    commit(repository, "after")
    clone = repository / "clone"
    git(repository, "clone", "-q", "-b", "main", str(repository), "clone")
    git(clone, "checkout", "-q", "topic")
    head = subprocess.run(["git", "-C", str(clone), "rev-parse", "main"], capture_output=True, text=True, check=True)
    named = {"FULL": head.stdout.strip(), "SHORT": head.stdout[:9]}.get(revision, revision)
    if revision == "before-tag":
        git(clone, "fetch", "-q", "--tags")
    monkeypatch.chdir(clone)  # so that the first line fits, wherever this is
    done = run("plan", "fleet.d", "--inventory", machine, "--against", named)
    assert "± chat/0  replace  context 8192 → 16384" in done.out
    assert "1 to change" in done.out
    assert head.stdout[:7] in done.out.splitlines()[0]


def test_a_worktree_is_a_checkout_too(run, repository, machine, tmp_path):
    git(repository, "worktree", "add", "-q", "-b", "topic", str(tmp_path / "topic"))
    (tmp_path / "topic/fleet.d/chat.yaml").write_text(CHAT.replace("8192", "16384"))
    done = run("plan", str(tmp_path / "topic/fleet.d"), "--inventory", machine, "--against", "main")
    assert "± chat/0  replace  context 8192 → 16384" in done.out


def test_files_that_are_not_committed_count_and_are_said_to(run, repository, machine, monkeypatch):
    monkeypatch.chdir(repository)
    (repository / "fleet.d/new.yaml").write_text(CHAT.replace("name: chat", "name: new"))
    (repository / "fleet.d/tiny.yaml").unlink()
    done = run("plan", "fleet.d", "--inventory", machine, "--against", "HEAD")
    assert "(edited) against HEAD (" in done.out.splitlines()[0]
    assert "+ new/0   start" in done.out
    assert "- tiny/0  stop   removed from " in done.out


@pytest.mark.usefixtures("soon")
def test_a_port_that_is_in_use_here_is_that_of_the_revision_too(run, repository):
    """The daemon's chat/0 listens on port 9000, on which the revision would run something else."""
    (repository / "fleet.d/web.yaml").write_text(
        "kind: Service\nname: web\ncommand: [sleep, infinity]\nport: 9000\npriority: 500\n"
    )
    commit(repository, "web")
    done = run("plan", str(repository / "fleet.d"), "--against", "HEAD")
    assert done.out.rstrip().endswith("nothing to do")


def test_a_fleet_that_a_revision_did_not_have_is_all_new(run, repository, machine):
    git(repository, "checkout", "-q", "--orphan", "other")
    git(repository, "rm", "-rqf", "--cached", "fleet.d")
    (repository / "readme").write_text("x")
    git(repository, "add", "readme")
    git(repository, "commit", "-qm", "nothing yet")
    done = run("plan", str(repository / "fleet.d"), "--inventory", machine, "--against", "other")
    assert (done.status, done.err) == (0, "")
    assert "3 to change" in done.out
    assert done.out.count("  start  ") == 3


@pytest.mark.parametrize("revision", ["no-such-branch", "--help", "HEAD:fleet.d", "main..HEAD", "a b", "", "\x1b[31m"])
def test_what_is_no_revision_is_told_in_a_line(run, repository, machine, revision):
    done = run("plan", str(repository / "fleet.d"), "--inventory", machine, f"--against={revision}")
    assert (done.status, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert "cannot find revision" in done.err
    assert "\x1b" not in done.err


def test_a_fleet_in_no_repository_is_told(run, files, machine):
    done = run("plan", str(files), "--inventory", machine, "--against", "HEAD")
    assert (done.status, done.out) == (1, "")
    assert "fleet.d:1:1: cannot be compared with a revision: it is in no git repository" in done.err


def test_a_fleet_that_is_not_there_is_told(run, repository, machine):
    done = run("plan", str(repository / "elsewhere"), "--inventory", machine, "--against", "HEAD")
    assert (done.status, done.out) == (1, "")
    assert "it is no directory" in done.err


def test_a_shallow_clone_is_told_how_to_get_more(run, repository, machine, tmp_path):
    (repository / "fleet.d/chat.yaml").write_text(CHAT.replace("8192", "16384"))
    commit(repository, "after")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", "clone")
    done = run("plan", str(tmp_path / "clone/fleet.d"), "--inventory", machine, "--against", "HEAD~1")
    assert (done.status, done.out) == (1, "")
    assert "this clone is shallow; `git fetch --unshallow`" in done.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_checkout_of_another_user_is_told_how_to_trust_it(run, repository, machine):
    """As in a container of CI."""
    for place, directories, names in os.walk(repository):
        for name in (".", *directories, *names):
            os.chown(os.path.join(place, name), 12345, 12345, follow_symlinks=False)
    done = run("plan", str(repository / "fleet.d"), "--inventory", machine, "--against", "HEAD")
    assert (done.status, done.out) == (1, "")
    assert f"`git config --global --add safe.directory {repository}`" in done.err


def test_what_was_broken_at_a_revision_is_told(run, repository, machine):
    (repository / "fleet.d/chat.yaml").write_text(CHAT.replace("gpus: 1", "gpus: many"))
    commit(repository, "broken")
    (repository / "fleet.d/chat.yaml").write_text(CHAT)
    done = run("plan", str(repository / "fleet.d"), "--inventory", machine, "--against", "HEAD")
    assert "+ chat/0  start" in done.out
    assert "where the models of these files are taken not to run" in done.out
    assert "fleet.d/chat.yaml:5:7: gpus: " in done.out


def test_what_ran_at_a_revision_is_estimated_too(run, repository, machine):
    """Else it would be taken to have had its card to itself."""
    shape = shapes.SHAPES["llama 8B"]
    gguf_files.write(repository / "eight.gguf", shapes.metadata(shape), shapes.tensors(shape))
    (repository / "fleet.d/eight.yaml").write_text(
        "kind: Model\nname: eight\nsource: file:../eight.gguf\ngpus: 1\ncontext: 8192\n"
    )
    commit(repository, "estimated")
    (repository / "fleet.d/eight.yaml").write_text(
        "kind: Model\nname: eight\nsource: file:../eight.gguf\ngpus: 1\ncontext: 16384\n"
    )
    done = run("plan", str(repository / "fleet.d"), "--inventory", machine, "--against", "HEAD")
    assert "± eight/0  replace  context 8192 → 16384" in done.out
    assert "25.5 → 26.6 of 141.0 GiB  chat/0 20.0, eight/0 6.6 (estimated ±5 %)" in done.out


def test_bars_of_a_revision_show_what_both_hold(run, repository, machine):
    """What would run there is on the card before, and its memory is not counted as somebody else's."""
    (repository / "fleet.d/chat.yaml").write_text(CHAT.replace("20GiB", "30GiB"))
    done = run("plan", str(repository / "fleet.d"), "--inventory", machine, "--against", "HEAD")
    assert "20.0 → 30.0 of 141.0 GiB  chat/0 30.0" in done.out


def test_a_machine_that_others_use_too_keeps_what_they_hold(run, repository, tmp_path):
    (tmp_path / "used.yaml").write_text(MACHINE.replace("141GiB}", "141GiB, used: 96GiB}"))
    (repository / "fleet.d/chat.yaml").write_text(CHAT.replace("20GiB", "30GiB"))
    fleet = str(repository / "fleet.d")
    done = run("plan", fleet, "--inventory", str(tmp_path / "used.yaml"), "--against", "HEAD")
    assert "116.0 → 126.0 of 141.0 GiB  chat/0 30.0, others 96.0" in done.out


def test_markdown_is_for_a_pull_request(run, repository, machine):
    (repository / "fleet.d/chat.yaml").write_text(CHAT.replace("8192", "16384"))
    words = ("--inventory", machine, "--against", "HEAD", "--format", "markdown")
    done = run("plan", str(repository / "fleet.d"), *words)
    assert done.out.startswith("### Plan of `")
    assert "| ± | `chat/0` | **replace** | context 8192 → 16384 | down while it loads |" in done.out
    assert "Every step" not in done.out
    assert "Every step" in run("plan", str(repository / "fleet.d"), *words, "--steps").out


def test_json_and_a_format_exclude_each_other(run, files):
    for form in ("text", "markdown"):
        done = run("plan", str(files), "--json", "--format", form)
        assert (done.status, done.out) == (2, "")
        assert "argument --format: not allowed with argument --json" in done.err
    done = run("plan", str(files), "--format", "html")
    assert done.status == 2
    assert "text" in done.err
    assert "markdown" in done.err


@pytest.mark.usefixtures("soon")
def test_another_machine_has_nothing_of_this_one(files, machine, socket, environment):
    """Its programs are taken to be there; ports, PATH and instances of this machine, and its daemon, have no say."""
    (files / "chat.yaml").write_text(CHAT)
    (files / "local.yaml").write_text(LOCAL)
    words = ["plan", str(files), "--inventory", machine, "--json", "--socket", socket]
    done = subprocess.run(
        [sys.executable, "-m", "reconciler.cli", *words],
        env={**environment, "PATH": ""},
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert [change["subject"] for change in found["changes"]] == ["chat/0", "local/0", "tiny/0"]
    assert {change["verb"] for change in found["changes"]} == {"start"}
    assert [change["after"]["port"] for change in found["changes"]] == [9000, 9001, None]
    programs = [action["launch"]["argv"][0] for action in found["passes"][0]["actions"]]
    assert programs == ["vllm", "llama-server", "sleep"]
    assert found["machine"] == "box1"


def test_ports_that_are_taken_here_are_free_on_another_machine(run, files, machine):
    (files / "chat.yaml").write_text(CHAT)
    with listener.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (files / "node.yaml").write_text(f"kind: Node\nname: local\nports: {port}-{port + 1}\n")
        assert f"port {port}  " in run("plan", str(files), "--inventory", machine).out


def strict(schema: Any) -> Any:
    """The schema, in which nothing is allowed that is not described."""
    schema = deepcopy(schema)
    for definition in (schema, *schema["$defs"].values()):
        if "properties" in definition:
            definition["additionalProperties"] = False
    return schema


@pytest.fixture(scope="module")
def schema() -> Any:
    made = strict(plan_schema())
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def checked(schema: Any, text: str) -> Any:
    found = json.loads(text)
    schema.validate(found)
    return found


PLANS = {
    "starts": CHAT,
    "blocked": CHAT.replace("20GiB", "200GiB"),
    "paused": f"{CHAT}paused: true\n",
    "a secret and a problem": f"{CHAT}env: {{HF_TOKEN: {{secret: hf}}, A: b}}\n---\nkind: Model\nname: x\n",
    "nothing": "",
}


def test_a_directory_that_is_not_there_is_an_error(run, files, machine):
    done = run("plan", str(files / "nowhere"), "--inventory", machine)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"holdfast: cannot plan: {files / 'nowhere'} cannot be believed: it does not exist;")


@pytest.mark.parametrize("content", PLANS.values(), ids=PLANS)
def test_json_is_as_its_schema_says(run, files, machine, schema, content):
    (files / "chat.yaml").write_text(content)
    checked(schema, run("plan", str(files), "--inventory", machine, "--json").out)


def test_json_of_a_change_is_as_its_schema_says_and_tells_what_a_person_sees(run, repository, machine, schema):
    (repository / "fleet.d/chat.yaml").write_text(CHAT.replace("8192", "16384").replace("20GiB", "30GiB"))
    (repository / "fleet.d/tiny.yaml").write_text(f"{GOOD}priority: 7\n")
    (repository / "fleet.d/local.yaml").unlink()
    words = ("--inventory", machine, "--against", "main", "--json")
    found = checked(schema, run("plan", str(repository / "fleet.d"), *words).out)
    chat, tiny, local = sorted(found["changes"], key=lambda change: str(change["mark"]), reverse=True)
    assert (chat["mark"], chat["verb"], chat["reason"], chat["downtime"]) == ("±", "replace", "SpecChanged", "loading")
    assert chat["what"] == "context 8192 → 16384; memory 20GiB → 30GiB"
    place = {"engine": "vllm", "runtime": "process", "node": "", "gpus": [0], "host": 5 * 2**30, "port": 9000}
    assert chat["before"] == {**place, "memory": 20 * 2**30}
    assert chat["after"] == {**place, "memory": 30 * 2**30}
    assert (tiny["mark"], tiny["subject"], tiny["downtime"]) == ("~", "tiny", "none")
    assert (local["mark"], local["reason"], local["downtime"]) == ("-", "NotInFleet", "ended")
    (gpu,) = found["gpus"]
    assert (gpu["before"]["used"], gpu["after"]["used"]) == (20 * 2**30, 30 * 2**30)
    (holding,) = gpu["after"]["holdings"]
    assert (holding["holder"], holding["ours"], holding["memory"]) == ("chat/0", True, 30 * 2**30)
    assert (holding["whole"], holding["basis"]) == (False, "declared")
    assert (found["against"]["name"], len(found["against"]["commit"])) == ("main", 40)


@pytest.mark.usefixtures("soon")
def test_json_of_what_the_daemon_runs_is_as_its_schema_says(run, files, schema):
    found = checked(schema, run("plan", str(files), "--json").out)
    assert found["machine"] is None
    assert [change["verb"] for change in found["changes"] if change["subject"] == "chat/0"] == ["stop"]


def test_what_the_schema_describes_is_always_there(schema):
    for name, definition in plan_schema()["$defs"].items():
        assert set(definition.get("properties", ())) == set(definition.get("required", ())), name
        assert definition.get("description"), name


def test_the_schema_in_the_repository_is_current(tmp_path):
    assert write_schema(str(ROOT / "schemas"), check=True) == [], "run `holdfast schema`"
    assert write_schema(str(tmp_path), check=True) == [str(tmp_path / FILE)]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_on_a_terminal_no_line_is_wider_than_it_and_no_color_is_honoured(files, machine, width, environment):
    (files / "chat.yaml").write_text(CHAT.replace("20GiB", "200GiB"))
    seen: dict[bool, str] = {}
    for colour in (True, False):
        above, below = pty.openpty()
        fcntl.ioctl(below, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
        env = {**environment, "TERM": "xterm", "NO_COLOR": "" if colour else "1"}
        words = ["plan", str(files), "--inventory", machine, "--steps"]
        subprocess.run([sys.executable, "-m", "reconciler.cli", *words], stdout=below, env=env, check=True)
        os.close(below)
        seen[colour] = os.read(above, 65536).decode().replace("\r\n", "\n")
        os.close(above)
    assert "\x1b[" in seen[True]
    assert "\x1b" not in seen[False]
    assert max(map(len, seen[False].splitlines())) <= width


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_shows_is_what_is_printed(document, tmp_path):
    """But for the hashes. Where it is not: `python -m tests.cli.printed`."""
    shown = document.read_text()
    assert without_hashes(printed(document, tmp_path)) == without_hashes(shown)


def without_hashes(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{7}\b", "0000000", text)
