"""A fleet in git: never a mix of two commits (fault 35), its commit, whether it was edited, an older one exported."""

import asyncio
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from reconciler.model.errors import SpecError
from reconciler.model.source import Revision
from reconciler.spec import git
from reconciler.spec.load import Loader, load_once
from tests.eventually import eventually
from tests.spec.place import Place, model, names, problems

FILES = 40


def run(root: Path, *arguments: str) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def commit(root: Path, message: str = "x") -> str:
    run(root, "add", "-A")
    run(root, "commit", "-qm", message)
    return run(root, "rev-parse", "HEAD")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A repository whose fleet directory is one below its top."""
    root = tmp_path / "work"
    (root / "fleet.d").mkdir(parents=True)
    (root / "fleet.d/a.yaml").write_text(model("a"))
    run(root, "init", "-q", "-b", "main")
    commit(root)
    return root


def test_no_look_sees_a_mix_of_two_commits(work: Path) -> None:
    """A checkout rewrites file after file; whatever moment a look falls on, it believes one commit or the other."""
    fleet = work / "fleet.d"
    commits: list[str] = []
    for number in (1, 2):
        for index in range(FILES):
            (fleet / f"m{index:03}.yaml").write_text(model(f"m{index:03}", priority=number) + "#" * 200 * number + "\n")
        commits.append(commit(work))
    loader = Loader(str(fleet), clock=time.monotonic)
    stop = threading.Event()
    failures: list[str] = []

    turns: list[str] = []

    def switch() -> None:
        while not stop.is_set() and not failures:
            turns.append(commits[len(turns) % 2])
            try:
                run(work, "checkout", "-q", turns[-1])
            except subprocess.CalledProcessError as error:
                failures.append(error.stderr)

    switcher = threading.Thread(target=switch)
    switcher.start()
    seen: set[frozenset[int]] = set()
    looks, end = 0, time.monotonic() + 60
    try:
        while (len(turns) < 60 or len(seen) < 2) and time.monotonic() < end:
            looks += 1
            # now all, now only what an event might have named
            loader.touch(None if looks % 3 else frozenset({f"m{looks % FILES:03}.yaml"}))
            found = loader.load().fleet
            if found.missing is None:
                seen.add(frozenset(each.priority for name, each in found.workloads.items() if name != "a"))
    finally:
        stop.set()
        switcher.join()
    assert not failures
    assert seen == {frozenset({1}), frozenset({2})}


def test_nothing_is_believed_while_git_holds_its_lock(work: Path) -> None:
    place = Place(work / "fleet.d")
    before = place.loaded.fleet
    lock = work / ".git/index.lock"
    lock.touch()
    place.write("a.yaml", model("a", priority=9))
    assert place.look("a.yaml") is before
    assert place.loaded.look_again_at is not None
    assert place.now < place.loaded.look_again_at <= place.now + 0.02
    lock.unlink()
    assert place.wait(0.02).workloads["a"].priority == 9


def test_a_lock_left_behind_is_a_problem_after_30_seconds_and_no_longer_waited_for(work: Path) -> None:
    place = Place(work / "fleet.d")
    (work / ".git/index.lock").touch()
    place.write("a.yaml", model("a", priority=9))
    assert place.look().workloads["a"].priority == 100
    fleet = place.wait(31)
    assert fleet.workloads["a"].priority == 9
    [problem] = fleet.problems
    assert f"remove {work}/.git/index.lock" in problem.message
    (work / ".git/index.lock").unlink()
    assert place.look().problems == ()


def test_a_first_look_waits_for_git_as_well(work: Path) -> None:
    (work / ".git/index.lock").touch()
    place = Place(work / "fleet.d")
    assert (names(place.loaded.fleet), place.loaded.fleet.missing) == (
        [],
        "git is rewriting it; it is read as soon as git has finished",
    )
    (work / ".git/index.lock").unlink()
    fleet = place.wait(0.02)
    assert (names(fleet), fleet.missing) == (["a"], None)


def test_a_changed_index_means_a_look_at_everything(work: Path) -> None:
    """Events of a checkout come one by one; the first of them may be heard when the last file is long written."""
    (work / "fleet.d/b.yaml").write_text(model("b"))
    first = commit(work)
    for name in ("a", "b"):
        (work / f"fleet.d/{name}.yaml").write_text(model(name, priority=2))
    commit(work)
    place = Place(work / "fleet.d")
    run(work, "checkout", "-q", first)
    fleet = place.look("a.yaml")
    assert {each.priority for each in fleet.workloads.values()} == {100}


def test_the_fleet_carries_its_commit(work: Path) -> None:
    place = Place(work / "fleet.d")
    head = run(work, "rev-parse", "HEAD")
    assert place.loaded.fleet.revision is not None
    assert place.loaded.fleet.revision.commit == head
    run(work, "checkout", "-q", "--detach")
    assert str(place.look().revision) == head[:7]
    run(work, "checkout", "-q", "main")
    run(work, "pack-refs", "--all")
    assert place.look().revision == place.loaded.fleet.revision
    (work / "fleet.d/a.yaml").write_text(model("a", priority=3))
    second = commit(work)
    fleet = place.look()
    assert fleet.revision is not None
    assert fleet.revision.commit == second


def test_sha256_worktrees_and_a_repository_without_commits_are_read(tmp_path: Path, work: Path) -> None:
    other = tmp_path / "other"
    (other / "fleet.d").mkdir(parents=True)
    (other / "fleet.d/a.yaml").write_text(model("a"))
    run(other, "init", "-q", "--object-format=sha256")
    assert load_once(str(other / "fleet.d")).revision is None
    head = commit(other)
    revision = load_once(str(other / "fleet.d")).revision
    assert revision is not None
    assert (len(head), revision.commit, revision.dirty) == (64, head, False)
    run(work, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    (tmp_path / "side/fleet.d/a.yaml").write_text(model("a", priority=5))
    head = commit(tmp_path / "side")
    place = Place(tmp_path / "side/fleet.d")
    assert place.loaded.fleet.revision is not None
    assert place.loaded.fleet.revision.commit == head
    (work / ".git/index.lock").touch()  # of the other work tree: none of ours
    place.write("a.yaml", model("a", priority=6))
    assert place.look().workloads["a"].priority == 6
    (work / ".git/worktrees/side/index.lock").touch()
    place.write("a.yaml", model("a", priority=7))
    assert place.look().workloads["a"].priority == 6


def test_outside_git_there_is_no_revision(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"a.yaml": model("a")})
    assert place.loaded.fleet.revision is None
    asyncio.run(place.loader.refresh_dirty())
    assert place.look().revision is None


def test_an_edit_makes_the_fleet_dirty_and_other_files_do_not(work: Path) -> None:
    place = Place(work / "fleet.d")

    def dirty() -> bool | None:
        asyncio.run(place.loader.refresh_dirty())
        revision = place.wait(0).revision
        return revision.dirty if revision is not None else None

    assert place.loaded.fleet.revision is not None
    assert place.loaded.fleet.revision.dirty is None
    assert dirty() is False
    (work / "notes.yaml").write_text("")
    place.write("readme.md", "")
    place.look()
    assert dirty() is False
    place.write("a.yaml", model("a", priority=3))
    assert place.look().revision == git_revision(place, None)
    assert dirty() is True
    commit(work)
    place.look()
    assert dirty() is False
    place.write("deep/new.yaml", model("n"))
    place.look()
    assert dirty() is True


def git_revision(place: Place, dirty: bool | None) -> Revision:
    return Revision(commit=run(place.root, "rev-parse", "HEAD"), dirty=dirty)


def test_asking_whether_it_is_dirty_takes_no_lock_and_moves_nothing(work: Path) -> None:
    place = Place(work / "fleet.d")
    place.write("a.yaml", model("a"))  # the index knows its old time
    before = place.look()
    index = os.stat(work / ".git/index").st_mtime_ns
    asyncio.run(place.loader.refresh_dirty())
    assert os.stat(work / ".git/index").st_mtime_ns == index
    assert place.wait(0).workloads is before.workloads


def test_a_repository_cannot_have_programs_run_for_it(work: Path) -> None:
    trap = work / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {work}/sprung\n")
    trap.chmod(0o755)
    run(work, "config", "core.fsmonitor", str(trap))
    asyncio.run(git.dirty(str(work / "fleet.d")))
    assert not (work / "sprung").exists()


def test_an_older_revision_is_exported(work: Path, tmp_path: Path) -> None:
    (work / "fleet.d/link.yaml").symlink_to("/etc/passwd")
    (work / "fleet.d/team").mkdir()
    (work / "fleet.d/team/b.yaml").write_text(model("b", priority=4))
    (work / "top.yaml").write_text(model("top"))
    commit(work)
    (work / "fleet.d/a.yaml").write_text(model("a", priority=9))
    into = tmp_path / "out"
    into.mkdir()
    git.export(str(work / "fleet.d"), "HEAD", str(into))
    fleet = load_once(str(into))
    assert {name: each.priority for name, each in fleet.workloads.items()} == {"a": 100, "b": 4}
    assert problems(fleet) == [
        "out/link.yaml:1:1: cannot be read: a symlink, and none is followed; put the file itself here"
    ]


@pytest.mark.parametrize("revision", ["nonsense", "--output=/tmp/x", "HEAD:fleet.d", ""])
def test_an_unknown_revision_is_told(work: Path, tmp_path: Path, revision: str) -> None:
    with pytest.raises(SpecError, match="cannot find revision .*`git log` names those that are there"):
        git.export(str(work / "fleet.d"), revision, str(tmp_path))


def test_a_directory_outside_git_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="in no git repository"):
        git.export(str(tmp_path), "HEAD", str(tmp_path))


def test_offline_a_lock_is_waited_for_a_moment(work: Path) -> None:
    lock = work / ".git/index.lock"
    lock.touch()
    threading.Timer(0.1, lock.unlink).start()
    fleet = load_once(str(work / "fleet.d"))
    assert (names(fleet), fleet.missing) == (["a"], None)
    eventually(lambda: not lock.exists())
