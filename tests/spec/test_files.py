"""Only regular files beneath the root are read, by descriptors, within caps (faults 37 and 38)."""

import os
import resource
import socket
import stat
import threading
from pathlib import Path

import pytest

from reconciler.spec import files
from reconciler.spec.files import Tree
from reconciler.spec.load import load_once
from tests.spec.place import Place, both, model, names, problems


def refusals(root: Path) -> dict[str, str]:
    with Tree(str(root)) as tree:
        return {path: problem.message for path, problem in tree.look().refused.items()}


def test_yaml_files_in_all_directories_are_found_and_nothing_hidden(tmp_path: Path) -> None:
    for path in ("a.yaml", "b.yml", "team/c.yaml", "team/deep/d.yaml", "odd.yaml/e.yaml", "readme.md", "f.yaml~",
                 ".g.yaml", ".#a.yaml", ".git/h.yaml", "team/.i/j.yaml"):  # fmt: skip
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("")
    with Tree(str(tmp_path)) as tree:
        listing = tree.look()
    assert sorted(listing.stamps) == ["a.yaml", "b.yml", "odd.yaml/e.yaml", "team/c.yaml", "team/deep/d.yaml"]
    assert not listing.refused


def test_symlinks_are_refused_wherever_they_lead(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(model("stolen"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.yaml").write_text(model("stolen"))
    root = tmp_path / "fleet.d"
    root.mkdir()
    (root / "good.yaml").write_text(model("good"))
    (root / "to-file.yaml").symlink_to(secret)
    (root / "to-directory").symlink_to(outside)
    (root / "inside.yaml").symlink_to("good.yaml")
    (root / "loop.yaml").symlink_to("loop.yaml")
    (root / "dangling.yaml").symlink_to("nowhere")
    (root / "up").symlink_to("..")
    fleet = load_once(str(root))
    assert names(fleet) == ["good"]
    refused = "cannot be read: a symlink, and none is followed; put the file itself here"
    paths = ("dangling.yaml", "inside.yaml", "loop.yaml", "to-directory", "to-file.yaml", "up")
    assert problems(fleet) == [f"fleet.d/{path}:1:1: {refused}" for path in paths]


def test_a_path_through_a_symlink_is_refused_when_it_is_hinted_at(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.yaml").write_text(model("stolen"))
    place = Place(tmp_path / "fleet.d", {"a.yaml": model("a")})
    (place.root / "link").symlink_to(outside)
    fleet = place.look("link/x.yaml", "../outside/x.yaml")
    assert names(fleet) == ["a"]
    assert names(place.look(after=5)) == ["a"]


def test_the_root_itself_may_be_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases/a.yaml").write_text(model("a"))
    (tmp_path / "fleet.d").symlink_to("releases")
    assert names(load_once(str(tmp_path / "fleet.d"))) == ["a"]


def test_a_fifo_and_a_socket_are_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.yaml"))
        done: list[dict[str, str]] = []
        reader = threading.Thread(target=lambda: done.append(refusals(tmp_path)), daemon=True)
        reader.start()
        reader.join(60)
    assert done, "reading waited for a writer"
    assert done[0] == {
        "fifo.yaml": "cannot be read: a FIFO; write a regular file",
        "socket.yaml": "cannot be read: a socket; write a regular file",
    }
    with Tree(str(tmp_path)) as tree:
        assert not isinstance(tree.read_again("fifo.yaml"), tuple)


@pytest.mark.parametrize(
    ("age", "known"), [(0, False), (19_999_999, False), (20_000_000, True), (-3_600 * 10**9, True)]
)
def test_by_its_times_nobody_knows_a_file_again_that_was_changed_in_this_moment(
    tmp_path: Path, age: int, known: bool
) -> None:
    """The clocks of file systems tick: another change may have the same time, and as many bytes."""
    path = tmp_path / "a.yaml"
    path.write_text(model("a"))
    changed = path.stat().st_ctime_ns
    with Tree(str(tmp_path), today=lambda: changed + age) as tree:
        found = tree.read_again("a.yaml")
        assert isinstance(found, tuple)
        assert (found[0] == tree.stamp("a.yaml")) == known


def test_a_file_that_is_read_again_for_that_and_says_the_same_has_been_at_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_TICK", 10**18)
    place = Place(tmp_path / "fleet.d", {"a.yaml": both(model("a"), model("b"))}, rest=1.0)
    place.write("a.yaml", model("a"))
    assert names(place.look()) == ["a", "b"]
    assert names(place.look(after=0.6)) == ["a", "b"]
    assert names(place.look(after=0.6)) == ["a"]


def test_a_device_is_refused(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "device.yaml", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("making devices is not allowed here")
    assert refusals(tmp_path) == {"device.yaml": "cannot be read: a device; write a regular file"}


def test_a_file_that_becomes_a_fifo_keeps_its_last_good_version(tmp_path: Path) -> None:
    place = Place(tmp_path / "fleet.d", {"a.yaml": model("a"), "b.yaml": model("b")})
    place.remove("a.yaml")
    os.mkfifo(place.root / "a.yaml")
    place.look("a.yaml")
    fleet = place.wait(2)
    assert names(fleet) == ["a", "b"]
    assert [(problem.path, problem.names) for problem in fleet.problems] == [("fleet.d/a.yaml", ("a",))]


def test_a_file_over_256_kib_is_refused_unread(tmp_path: Path) -> None:
    place = Place(tmp_path / "fleet.d", {"a.yaml": model("a"), "b.yaml": model("b")})
    with open(place.root / "a.yaml", "wb") as file:
        file.truncate(50 * 2**20)
    place.look()
    fleet = place.wait(2)
    assert names(fleet) == ["a", "b"]
    assert problems(fleet) == ["fleet.d/a.yaml:1:1: cannot be read: longer than 256 KiB; split it"]
    place.write("a.yaml", model("a") + "#" * (256 * 1024 - len(model("a")) - 1) + "\n")
    assert problems(place.look()) == []


def test_a_fleet_over_64_mib_is_not_believed_and_nothing_is_dropped(tmp_path: Path) -> None:
    place = Place(tmp_path / "fleet.d", {"a.yaml": model("a")})
    for index in range(260):
        with open(place.root / f"x{index}.yaml", "wb") as file:
            file.truncate(256 * 1024)
    fleet = place.look()
    assert names(fleet) == ["a"]
    assert "over 64 MiB together" in str(fleet.missing)


def test_more_files_than_the_cap_are_not_even_listed(tmp_path: Path) -> None:
    place = Place(tmp_path / "fleet.d", {"a.yaml": model("a")})
    for index in range(files.MAX_FILES + 50):
        os.close(os.open(place.root / f"{index}.yaml", os.O_CREAT | os.O_WRONLY))
    with Tree(str(place.root)) as tree:
        listing = tree.look()
    assert len(listing.stamps) == files.MAX_FILES
    fleet = place.look()
    assert names(fleet) == ["a"]
    assert "more than 20,000 YAML files; split the fleet" in str(fleet.missing)
    assert load_once(str(place.root)).missing is not None


def test_a_directory_too_deep_is_a_problem(tmp_path: Path) -> None:
    deep = tmp_path / "fleet.d" / "/".join("d" * 17)
    deep.mkdir(parents=True)
    (deep / "x.yaml").write_text(model("x"))
    (tmp_path / "fleet.d/a.yaml").write_text(model("a"))
    fleet = load_once(str(tmp_path / "fleet.d"))
    assert names(fleet) == ["a"]
    assert [problem.message for problem in fleet.problems] == [
        "cannot be read: more than 16 directories deep; move it up"
    ]


def test_a_name_that_is_no_text_is_a_problem_that_can_be_printed(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    for name in (b"caf\xe9.yaml", b"a\nb.yaml"):
        with open(root + b"/" + name, "wb") as file:
            file.write(model("x").encode())
    fleet = load_once(str(tmp_path))
    assert names(fleet) == []
    assert sorted(problem.path.rpartition("/")[2] for problem in fleet.problems) == ["a?b.yaml", "caf?.yaml"]
    "\n".join(problems(fleet)).encode()


def test_what_may_not_be_read_is_a_problem_and_its_resources_stay(tmp_path: Path) -> None:
    """As somebody who is not root: what root may not read does not exist."""
    place = Place(tmp_path / "fleet.d", {"team/a.yaml": model("a"), "b.yaml": model("b")})
    if os.geteuid() == 0:
        os.chmod(tmp_path, 0o755)
        for above in tmp_path.parents:
            if above.is_relative_to("/tmp") and above != Path("/tmp"):
                os.chmod(above, above.stat().st_mode | 0o055)
    os.chmod(place.root / "team", 0)
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(65534)
        place.look()
        fleet = place.wait(2)
    finally:
        if before == 0:
            os.seteuid(0)
        os.chmod(place.root / "team", 0o755)
    assert names(fleet) == ["a", "b"]
    assert [problem.message for problem in fleet.problems] == [
        "cannot be read: permission denied; let the user that runs holdfast read it"
    ]


@pytest.mark.parametrize("free", range(6))
@pytest.mark.parametrize("hint", ["team/a.yaml", None])
def test_where_descriptors_run_out_nothing_is_dropped_and_all_is_read_once_they_are_back(
    tmp_path: Path, free: int, hint: str | None
) -> None:
    """Fault 15: with any number of them left, a look ends with words, and the next good one with the truth."""
    place = Place(tmp_path / "fleet.d", {"team/a.yaml": model("a"), "b.yaml": model("b")})
    place.write("team/a.yaml", model("a", priority=7))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = max(int(name) for name in os.listdir("/proc/self/fd"))
    held = [os.dup(0) for _ in range(8)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(*held, top) + 1, hard))
    try:
        held += _all_of_them()
        for _ in range(free):
            os.close(held.pop())
        place.loader.touch(None if hint is None else frozenset({hint}))
        during = place.loader.load().fleet
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert names(during) == ["a", "b"]
    place.look()
    after = place.wait(20)
    assert names(after) == ["a", "b"]
    assert after.workloads["a"].priority == 7
    assert problems(after) == []


def _all_of_them() -> list[int]:
    taken: list[int] = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        return taken
