"""The state directory goes bad, the disk or the descriptors run out, a secret must not leak: engines stay."""

import contextlib
import os
import resource
import secrets
import subprocess

import pytest

from reconciler.act import procfs
from tests.act.stage import environ
from tests.eventually import eventually
from tests.system.box import LATEST, last_words

pytestmark = pytest.mark.system


def test_a_history_that_is_corrupted_while_the_daemon_is_down_is_begun_anew(box):
    box.service("one")
    box.daemon()
    box.converged("one")
    before = box.pids()
    box.kill()
    for path in box.state.glob("events.db*"):
        path.write_bytes(os.urandom(64 * 1024))
    box.daemon()
    box.converged("one")
    event = box.told("began anew", subject="daemon")
    assert any(path.name in event.message for path in box.state.glob("events.db*")), "it says where the old one is"
    assert box.pids() == before


def test_a_history_that_is_corrupted_while_the_daemon_runs_is_begun_anew(box):
    box.service("one")
    box.daemon()
    box.converged("one")
    before = box.pids()
    for name in ("events.db", "events.db-wal"):  # what was written last is in the second one
        with open(box.state / name, "r+b") as file:
            file.write(os.urandom(max(64 * 1024, os.stat(box.state / name).st_size)))
    box.service("one", replicas=2)
    box.told("began anew", subject="daemon")
    box.converged("one")
    assert box.pids()["one/0"] == before["one/0"]
    os.kill(box.pids()["one/1"][0], 9)
    box.told("signal 9", subject="one/1")


@pytest.fixture
def small(box):
    """A state directory on a disk of 4 MiB of its own."""
    box.state.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(box.state)], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    yield box
    box.clear()
    subprocess.run(["umount", "-l", str(box.state)], check=True)


def test_a_full_disk_stops_no_engine_and_is_gone_through_alone(small):
    box = small
    box.service("steady")
    box.service("grows")
    daemon = box.daemon()
    box.converged("steady", "grows")
    before = box.pids()
    filler = box.state / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096:
            pass
    assert os.statvfs(box.state).f_bavail == 0
    box.service("grows", replicas=3)
    told = eventually(lambda: box.stalled("grows", "DiskFull"), within=LATEST, what="it says that the disk is full")
    assert "no space left" in told.message.lower()
    assert eventually(lambda: box.status().degraded, within=LATEST, what="it says that it is degraded")
    assert box.pids() == before
    filler.unlink()
    box.converged("steady", "grows", within=60.0)
    assert before.items() <= box.pids().items()
    assert not box.status().degraded
    assert daemon.poll() is None
    box.told("history can be written again", subject="daemon")


def test_a_secret_is_in_its_engines_environment_and_nowhere_else(box):
    value = f"canary{secrets.token_hex(16)}"
    folder = box.state / "secrets"
    folder.mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    (folder / "canary").write_text(f"{value}\n")
    box.service("holder", env={"T": {"secret": "canary"}})
    box.service("failing", "/bin/false", env={"T": {"secret": "canary"}})
    box.service("unfound", "/nowhere/program", env={"T": {"secret": "canary"}})
    box.daemon()
    eventually(lambda: (now := box.row("holder")) and now.ready, what="it runs")
    eventually(lambda: box.stalled("failing") and box.stalled("unfound"), what="the others failed")
    assert f"T={value}" in environ(box.pids()["holder/0"][0])
    client = box.client
    said = [repr(client.status()), repr(client.facts()), repr(client.road()), repr(client.events()), last_words(box)]
    said += [box.cli("status", "--json").stdout, box.cli("events", "--json").stdout]
    assert not [text for text in said if value in text]
    written = [path for path in box.place.rglob("*") if path.is_file() and value.encode() in path.read_bytes()]
    assert written == [folder / "canary"]
    argvs = [procfs.read(f"/proc/{pid}/cmdline") or b"" for pid in procfs.pids()]
    assert not [argv for argv in argvs if value.encode() in argv]
    carriers = {pid for pid in procfs.pids() if any(value in entry for entry in environ(pid))}
    assert carriers <= set(box.engines("holder/0")) | set(box.engines("failing/0"))


def test_a_daemon_without_descriptors_says_so_leaves_nothing_half_done_and_the_next_converges(box):
    count = 60
    box.service("many", replicas=count)
    daemon = box.daemon(before=("prlimit", "--nofile=64:64"), answers=False)
    eventually(lambda: "too many open files" in last_words(box).lower(), within=LATEST, what="it says so")
    assert daemon.poll() is None
    box.kill()
    started = {carried for _, carried in box.ours() if carried}
    recorded = {f"many/{path.parent.name.split('.')[1]}" for path in box.state.glob("slots/many.*/launch.json")}
    assert started <= recorded, "all that runs is recorded"
    before = {slot: box.engines(slot) for slot in started}
    box.daemon()
    box.converged("many", within=60.0)
    after = {slot: box.engines(slot) for slot in box.pids()}
    assert len(after) == count
    assert all(len(pids) == 1 for pids in after.values())
    assert before.items() <= after.items()


def test_a_daemon_that_gets_its_descriptors_back_converges_in_the_same_life(box):
    count = 30
    box.service("steady")
    daemon = box.daemon()
    box.converged("steady")
    before = eventually(lambda: box.engines("steady/0"), what="it is executed")
    _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir(f"/proc/{daemon.pid}/fd"))
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + 2, hard))
    box.service("many", replicas=count)
    eventually(lambda: "too many open files" in last_words(box).lower(), within=LATEST, what="it says so")
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (hard, hard))
    box.converged("many", "steady", within=60.0)
    assert daemon.poll() is None
    assert box.engines("steady/0") == before
    after = {slot: box.engines(slot) for slot in box.pids()}
    assert len(after) == count + 1
    assert all(len(pids) == 1 for pids in after.values())
