"""An edit is noticed at once, and whatever happens to the directory the watch recovers (fault 36)."""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from reconciler.spec.load import Loader, load_once
from reconciler.spec.watch import Watcher
from tests.eventually import eventually_async
from tests.spec.place import model, names


class Ear:
    """What was heard."""

    def __init__(self) -> None:
        self.heard: list[frozenset[str] | None] = []

    def __call__(self, paths: frozenset[str] | None) -> None:
        self.heard.append(paths)

    def clear(self) -> None:
        self.heard.clear()

    def names(self) -> set[str]:
        return {path for paths in self.heard if paths is not None for path in paths}

    @property
    def anything(self) -> bool:
        return None in self.heard


def watched(root: Path, body: Callable[[Watcher, Ear], Awaitable[None]]) -> None:
    async def main() -> None:
        ear = Ear()
        watcher = Watcher(str(root), ear)
        watcher.start()
        try:
            await body(watcher, ear)
        finally:
            watcher.stop()

    asyncio.run(main())


def test_a_written_file_is_heard_of_once_and_by_name(tmp_path: Path) -> None:
    async def body(watcher: Watcher, ear: Ear) -> None:
        (tmp_path / "a.yaml").write_text(model("a"))
        await eventually_async(lambda: ear.heard)
        assert ear.heard == [frozenset({"a.yaml"})]
        assert watcher.degraded is None

    watched(tmp_path, body)


def test_a_file_that_is_being_written_is_heard_of_when_it_is_closed(tmp_path: Path) -> None:
    async def body(_: Watcher, ear: Ear) -> None:
        with open(tmp_path / "a.yaml", "w", encoding="utf-8") as file:
            file.write("kind: Model\n")
            file.flush()
            (tmp_path / "b.yaml").write_text("#\n")
            await eventually_async(lambda: ear.heard)
            assert "a.yaml" not in ear.names()
        await eventually_async(lambda: "a.yaml" in ear.names())

    watched(tmp_path, body)


def test_every_way_to_change_a_file_is_heard(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("#\n")
    (tmp_path / "outside").write_text("#\n")

    async def body(_: Watcher, ear: Ear) -> None:
        steps: list[tuple[Callable[[], object], set[str]]] = [
            (lambda: os.rename(tmp_path / "a.yaml", tmp_path / "b.yaml"), {"a.yaml", "b.yaml"}),
            (lambda: os.rename(tmp_path / "outside", tmp_path / "c.yaml"), {"c.yaml"}),
            (lambda: os.link(tmp_path / "c.yaml", tmp_path / "d.yaml"), {"d.yaml"}),
            (lambda: os.symlink("c.yaml", tmp_path / "e.yaml"), {"e.yaml"}),
            (lambda: os.chmod(tmp_path / "c.yaml", 0), {"c.yaml"}),
            (lambda: os.truncate(tmp_path / "d.yaml", 0) or (tmp_path / "d.yaml").write_text("x"), {"d.yaml"}),
            (lambda: os.unlink(tmp_path / "b.yaml"), {"b.yaml"}),
        ]
        for act, expected in steps:
            ear.clear()
            act()
            await eventually_async(lambda expected=expected: expected <= ear.names())

    watched(tmp_path, body)


def test_what_declares_nothing_is_not_heard_of(tmp_path: Path) -> None:
    async def body(_: Watcher, ear: Ear) -> None:
        for name in ("x.txt", ".hidden.yaml", "y.yaml~", ".y.yaml.swp", "4913"):
            (tmp_path / name).write_text("")
        (tmp_path / "last.yaml").write_text("#\n")
        await eventually_async(lambda: ear.heard)
        assert ear.heard == [frozenset({"last.yaml"})]

    watched(tmp_path, body)


def test_files_in_a_directory_made_later_are_heard_of_however_early_they_come(tmp_path: Path) -> None:
    async def body(_: Watcher, ear: Ear) -> None:
        (tmp_path / "new/deep").mkdir(parents=True)
        (tmp_path / "new/deep/a.yaml").write_text("#\n")
        await eventually_async(lambda: "new/deep/a.yaml" in ear.names())
        ear.clear()
        (tmp_path / "new/deep/b.yaml").write_text("#\n")
        await eventually_async(lambda: "new/deep/b.yaml" in ear.names())

    watched(tmp_path, body)


def test_a_directory_that_moves_is_heard_of_and_watched_where_it_went(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/a.yaml").write_text("#\n")

    async def body(_: Watcher, ear: Ear) -> None:
        os.rename(tmp_path / "old", tmp_path / "new")
        await eventually_async(lambda: ear.anything)
        ear.clear()
        (tmp_path / "new/a.yaml").write_text("# x\n")
        await eventually_async(lambda: "new/a.yaml" in ear.names())
        assert "old/a.yaml" not in ear.names()

    watched(tmp_path, body)


def test_a_root_that_is_replaced_is_watched_again(tmp_path: Path) -> None:
    root = tmp_path / "fleet.d"
    root.mkdir()

    async def body(_: Watcher, ear: Ear) -> None:
        shutil.rmtree(root)
        await eventually_async(lambda: ear.anything)
        ear.clear()
        root.mkdir()
        (root / "a.yaml").write_text("#\n")
        await eventually_async(lambda: ear.anything or "a.yaml" in ear.names())
        ear.clear()
        (root / "b.yaml").write_text("#\n")
        await eventually_async(lambda: "b.yaml" in ear.names())

    watched(root, body)


def test_a_root_that_does_not_exist_yet_is_watched_from_its_beginning(tmp_path: Path) -> None:
    root = tmp_path / "fleet.d"

    async def body(_: Watcher, ear: Ear) -> None:
        root.mkdir()
        await eventually_async(lambda: ear.anything)
        ear.clear()
        (root / "a.yaml").write_text("#\n")
        await eventually_async(lambda: "a.yaml" in ear.names())

    watched(root, body)


def test_a_root_far_from_existing_is_watched_when_somebody_looks(tmp_path: Path) -> None:
    root = tmp_path / "not/yet/fleet.d"

    async def body(watcher: Watcher, ear: Ear) -> None:
        root.mkdir(parents=True)
        watcher.rearm()
        (root / "a.yaml").write_text("#\n")
        await eventually_async(lambda: "a.yaml" in ear.names())

    watched(root, body)


def test_a_symlinked_root_that_is_turned_is_watched_where_it_leads(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    root = tmp_path / "fleet.d"
    root.symlink_to("one")

    async def body(_: Watcher, ear: Ear) -> None:
        (tmp_path / "next").symlink_to("two")
        os.rename(tmp_path / "next", root)
        await eventually_async(lambda: ear.anything)
        ear.clear()
        (tmp_path / "two/a.yaml").write_text("#\n")
        await eventually_async(lambda: "a.yaml" in ear.names())

    watched(root, body)


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, timeout=60)


def test_a_commit_and_a_checkout_are_heard_of(tmp_path: Path) -> None:
    root = tmp_path / "fleet.d"
    root.mkdir()
    (root / "a.yaml").write_text("#\n")
    git(tmp_path, "init", "-q", "-b", "main")

    async def body(_: Watcher, ear: Ear) -> None:
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", "x")
        await eventually_async(lambda: frozenset() in ear.heard)
        git(tmp_path, "checkout", "-q", "-b", "feature/side")
        await eventually_async(lambda: len(ear.heard) > 1)
        ear.clear()
        git(tmp_path, "commit", "-q", "--allow-empty", "-m", "y")
        await eventually_async(lambda: frozenset() in ear.heard)

    watched(root, body)


def test_a_storm_ends_in_the_exact_state_at_bounded_cost(tmp_path: Path) -> None:
    """More renames than the kernel keeps events for: told as anything, and the loader ends where the files are."""
    root = tmp_path / "fleet.d"
    root.mkdir()
    for index in range(20):
        (root / f"m{index}.yaml").write_text(model(f"m{index}"))
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
        room = int(file.read())

    async def body(_: Watcher, ear: Ear) -> None:
        loader = Loader(str(root), clock=time.monotonic, rest=0.05)
        loader.load()
        for turn in range(room // 2 + 100):  # two events each, none of them read meanwhile
            os.rename(root / "m0.yaml", root / "n.yaml")
            os.rename(root / "n.yaml", root / "m0.yaml")
            if turn % 1000 == 0:
                (root / f"extra{turn}.yaml").write_text(model(f"extra{turn}"))
        os.unlink(root / "m1.yaml")
        (root / "m2.yaml").write_text(model("m2", priority=2))
        await eventually_async(lambda: ear.anything)
        told = len(ear.heard)
        loader.touch(None)
        loader.load()
        await eventually_async(lambda: "m1" not in loader.load().fleet.workloads)
        fleet = loader.load().fleet
        offline = load_once(str(root))
        assert names(fleet) == names(offline)
        assert {n: w.settings for n, w in fleet.workloads.items()} == {
            n: w.settings for n, w in offline.workloads.items()
        }
        assert told < 20
        ear.clear()
        (root / "after.yaml").write_text("#\n")
        await eventually_async(lambda: "after.yaml" in ear.names())

    watched(root, body)


def test_a_storm_that_goes_on_takes_a_small_part_of_a_core(tmp_path: Path) -> None:
    code = (
        "import os,sys\n"
        "a,b=sys.argv[1]+'/a.yaml',sys.argv[1]+'/b.yaml'\n"
        "while True:\n"
        "    os.rename(a,b); os.rename(b,a)\n"
    )
    (tmp_path / "a.yaml").write_text("#\n")

    async def body(_: Watcher, ear: Ear) -> None:
        storm = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
        try:
            await eventually_async(lambda: ear.heard)
            used, begun = time.process_time(), time.monotonic()
            await eventually_async(lambda: time.monotonic() - begun > 1.5)
            share = (time.process_time() - used) / (time.monotonic() - begun)
        finally:
            storm.kill()
            storm.wait()
        assert share < 0.5  # a tenth and a bit where the machine is quiet; all of it without the pause

    watched(tmp_path, body)


def test_without_inotify_it_says_that_edits_are_noticed_late(tmp_path: Path) -> None:
    async def main() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        watcher = Watcher(str(tmp_path), Ear())
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            watcher.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert watcher.degraded is not None
        assert "edits are noticed late; raise fs.inotify.max_user_instances" in watcher.degraded
        watcher.rearm()
        assert watcher.degraded is None
        watcher.stop()

    asyncio.run(main())
