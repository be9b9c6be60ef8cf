"""Keys are made, shown once, pasted into the fleet, and recognised again; none ever stands in an argument or a file."""

import contextlib
import hashlib
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from reconciler.gateway.access import Keys
from reconciler.gateway.key import shape
from reconciler.model.routing import Grant
from reconciler.plan.routing import _grant
from reconciler.spec.load import load_once
from tests.cli.conftest import Done


@pytest.fixture
def fleet(tmp_path) -> Path:
    made = tmp_path / "fleet.d"
    made.mkdir()
    (made / "s.yaml").write_text("kind: Service\nname: s\ncommand: [sleep, infinity]\n")
    return made


@pytest.fixture
def checked(fleet, environment):
    """What `holdfast key check` says of a key."""

    def check(key: str) -> Done:
        command = [sys.executable, "-m", "reconciler.cli", "key", "check", "--fleet", str(fleet)]
        done = subprocess.run(command, env=environment, input=key, capture_output=True, text=True, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    return check


def test_what_is_printed_of_a_new_key_is_a_file_by_which_the_gateway_knows_it(run, fleet, checked):
    done = run("key", "new", "--name", "ci", "--expires", "90d", "--note", 'Ann: "the CI" \x1b[2J')
    assert done.status == 0
    key = done.out.removesuffix("\n")
    assert shape(key) == "good"
    assert key not in done.err
    assert "\x1b" not in done.err
    (fleet / "ci.yaml").write_text(done.err)
    loaded = load_once(str(fleet))
    assert loaded.problems == ()
    keys = Keys([_grant(one) for one in loaded.access.values()])
    found = keys.find(key.encode(), datetime.now(UTC).timestamp() + 90 * 86400)
    assert isinstance(found, Grant)
    assert not isinstance(keys.find(key.encode(), datetime.now(UTC).timestamp() + 91 * 86400), Grant)
    day = f"{datetime.now(UTC) + timedelta(days=91):%Y-%m-%d} 00:00 UTC"
    assert checked(f"{key}\n") == (
        0,
        f'it is a key of the Access ci (Ann: "the CI"), until {day}; for inference of *\n',
        "",
    )


def test_each_new_key_is_another(run):
    assert len({run("key", "new").out for _ in range(5)}) == 5


@pytest.mark.parametrize(
    ("given", "written"), [("2099-01-31", "2099-01-31"), ("2099-01-31T18:00:00Z", "2099-01-31T18:00:00Z")]
)
def test_a_date_is_written_as_it_was_given(run, given, written):
    pasted = run("key", "new", "--expires", given).err
    assert f"    expires: {written}\n" in pasted
    assert yaml.safe_load(pasted)["name"] == "clients"


def test_hours_are_hours(run):
    pasted = yaml.safe_load(run("key", "new", "--expires", "12h").err)
    left = pasted["keys"][0]["expires"] - datetime.now(UTC)
    assert timedelta(hours=11) < left <= timedelta(hours=12)


@pytest.mark.parametrize("given", ["2020-01-01", "soon", "0s", "1e9d", ""])
def test_a_key_that_cannot_expire_so_is_not_made(run, given):
    done = run("key", "new", f"--expires={given}")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("holdfast: cannot let a key expire at ")


def test_an_access_cannot_have_any_name(run):
    done = run("key", "new", "--name", "Team A")
    assert (done.status, done.out) == (1, "")
    assert done.err == "holdfast: cannot name an Access Team A: write a-z, 0-9 and '-', at most 63 characters\n"


def test_a_typo_a_stranger_and_an_expired_key_are_told_apart(run, fleet, checked):
    key = run("key", "new").out.strip()
    hashed = hashlib.sha256(key.encode()).hexdigest()
    (fleet / "a.yaml").write_text(f"kind: Access\nname: a\nkeys: [{{sha256: {hashed}, expires: 2020-01-01}}]\n")
    assert checked(key) == (1, "", "holdfast: it is a key of the Access a, and expired on 2020-01-02 00:00 UTC\n")
    typo = checked(key[:-1] + ("a" if key[-1] != "a" else "b"))
    assert typo.err == "holdfast: it is mistyped: a character is wrong or missing, as its checksum shows\n"
    for stranger in (run("key", "new").out, "sk-proj-1234"):
        done = checked(stranger)
        assert done.status == 1
        assert done.err.startswith(f"holdfast: it is unknown: no Access in {fleet} has its hash, ")
        assert stranger.strip() not in done.err
    assert checked("\n").err == "holdfast: cannot check a key: none came on stdin\n"


def test_what_cannot_be_read_is_told_where_a_key_is_looked_for(fleet, checked):
    (fleet / "x.yaml").write_text("kind: Access\nname: x\n")
    assert checked("sk-1").err.startswith("holdfast: 1 file cannot be read, and nothing of what it declares is known")
    for one in fleet.iterdir():
        one.unlink()
    fleet.rmdir()
    assert checked("sk-1").err.startswith("holdfast: cannot look for keys: ")


def test_the_fleets_keys_are_listed_and_none_can_be_read_from_it(run, fleet):
    listed = ("key", "--fleet", str(fleet))
    assert run(*listed).out == f"no Access is declared in {fleet}: the gateway is open, on loopback only\n"
    (fleet / "a.yaml").write_text(
        f'kind: Access\nname: a\nkeys:\n- sha256: {"a" * 64}\n  note: "x \\e[2J"\n'
        f"- sha256: {'b' * 64}\n  expires: 2020-01-01\n"
    )
    assert run(*listed).out.splitlines() == [
        "ACCESS  SHA256         EXPIRES                      NOTE",
        "a       aaaaaaaaaaaa…  never                        x",
        "a       bbbbbbbbbbbb…  2020-01-02 00:00 UTC (over)",
    ]
    assert [one["sha256"] for one in json.loads(run(*listed, "--json").out)] == ["a" * 64, "b" * 64]


def test_on_a_terminal_a_key_is_typed_unseen(fleet, environment):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "reconciler.cli", "key", "check", "--fleet", str(fleet)]
    with subprocess.Popen(
        command, env=environment, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, start_new_session=True
    ) as asked:
        os.close(theirs)
        assert asked.stderr is not None
        said = b""
        while b"key: " not in said:
            said += os.read(asked.stderr.fileno(), 100)
        os.write(ours, b"sk-very-secret\n")
        said += asked.stderr.read()
        shown = b""
        with contextlib.suppress(OSError):  # nothing was, and nobody is there any more
            shown = os.read(ours, 1000)
    os.close(ours)
    assert b"it is unknown" in said
    assert b"very-secret" not in said + shown
