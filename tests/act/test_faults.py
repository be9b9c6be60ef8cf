"""Full disks, exhausted tables and unreadable directories: nothing half done, nothing lost, and recovery by itself."""

import errno
import os
import resource
import shutil
import socket
import subprocess

import pytest

from reconciler.act.hatchery import Hatchery
from reconciler.act.slot import Site, Slot
from reconciler.model.errors import TransientError
from reconciler.model.observation import Exited, Recorded, Unknown
from reconciler.model.status import Reason
from tests.act.stage import Stage, alive, ended, launch, live, running, said, sh
from tests.eventually import eventually, eventually_async


@pytest.fixture
def small(tmp_path):
    """A state directory on a file system of 2 MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "holdfast", mount], check=False).returncode:
        pytest.skip("needs the right to mount")
    stage = Stage(mount / "state")
    yield stage
    stage.clear()
    subprocess.run(["umount", mount], check=True)


def fill(stage):
    """Leave no byte; what is returned, once removed, leaves some."""
    path = stage.state / "filler"
    with path.open("wb", buffering=0) as file:
        size = 65536
        while size:
            try:
                if file.write(b"x" * size) < size:
                    size //= 2
            except OSError:
                size //= 2
    return path


def test_a_start_on_a_full_disk_leaves_nothing_and_works_once_there_is_room(small):
    async def scene():
        async with small.runtime() as runtime:
            filler = fill(small)
            with pytest.raises(TransientError, match="no space left") as caught:
                await runtime.start(launch(), {})
            assert caught.value.reason is Reason.DiskFull
            assert runtime.instances == {}
            assert not small.path().exists()
            assert small.processes() == []
            filler.unlink()
            await runtime.start(launch(), {})
            await running(runtime)

    live(scene())


def test_a_restart_takes_no_room_on_a_full_disk(small):
    async def scene():
        async with small.runtime() as runtime:
            await runtime.start(launch(argv=sh("exit 4")), {})
            await ended(runtime)
            fill(small)
            await runtime.start(launch(run=2), {})
            pid = (await running(runtime)).pid
        async with small.runtime() as runtime:
            assert (await running(runtime)).pid == pid
            assert runtime.instances["chat/0"].launch.run == 2

    live(scene())


def test_a_longer_record_on_a_full_disk_keeps_what_was_known(small):
    longer = launch(run=2, env={"LONG": "x" * 5000})

    async def scene():
        async with small.runtime() as runtime:
            await runtime.start(launch(argv=sh("exit 4")), {})
            before = await ended(runtime)
            filler = fill(small)
            with pytest.raises(TransientError, match="no space left"):
                await runtime.start(longer, {})
            assert runtime.instances["chat/0"].phase == before
            filler.unlink()
            await runtime.start(longer, {})
            await running(runtime)
            assert runtime.instances["chat/0"].launch == longer

    live(scene())


def test_on_a_full_disk_an_engine_is_stopped_and_its_end_is_written_down(small):
    async def scene():
        async with small.runtime() as runtime:
            await runtime.start(launch(), {})
            pid = (await running(runtime)).pid
            fill(small)
            await runtime.stop("chat/0", 1, 5.0, Reason.StopAsked)
            assert not alive(pid)
        async with small.runtime() as runtime:
            assert (await ended(runtime)).asked is Reason.StopAsked

    live(scene())


def test_log_lines_that_find_no_room_are_dropped_counted_and_told(small):
    async def scene():
        async with small.runtime() as runtime:
            steps, told = small.state / "steps", small.state / "told"
            os.mkfifo(steps)
            os.mkfifo(told)
            script = f"while read line; do if [ $line = told ]; then echo >{told}; else echo $line; fi; done < {steps}"
            await runtime.start(launch(argv=sh(script)), {})
            with steps.open("w", buffering=1) as say:
                say.write("before\n")
                await said(small, "before")
                filler = fill(small)
                small.logs().joinpath("1.0.log").open("ab").close()
                for beginning in (0, 1500):  # who has read the second half has done with the first
                    for index in range(beginning, beginning + 1500):  # beyond what is left in the log's last page
                        say.write(f"lost {index}\n")
                    say.write("done\ntold\n")
                    assert told.read_text() == "\n"
                    await eventually_async(lambda: _read_all(small.path() / "out"), what="the keeper has read it")
                filler.unlink()

                def recovered():
                    say.write("after\n")
                    return "after\n" in small.log()

                await eventually_async(recovered)
            text = small.log()
            kept = text.count("lost") + text.count("done")
            marks = [line for line in text.splitlines() if line.startswith("[holdfast: ")]
            dropped = sum(int(mark.split()[1]) for mark in marks)
            assert marks
            assert text.index("before") < text.index(marks[0]) < text.index("after")
            cut = 1 if "\nlost" in text and not text.split("[holdfast")[0].endswith("\n\n") else 0
            assert dropped + kept + cut >= 3002
            await ended(runtime)

    live(scene())


def _read_all(path):
    with path.open("rb", buffering=0) as file:
        os.set_blocking(file.fileno(), False)
        import fcntl
        import termios

        return int.from_bytes(fcntl.ioctl(file.fileno(), termios.FIONREAD, b"\0" * 4), "little") == 0


def test_no_descriptors_left_is_told_and_leaves_nothing(stage):
    async def scene():
        async with stage.runtime() as runtime:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            used = max(map(int, os.listdir("/proc/self/fd")))
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
            taken = []
            try:
                while True:
                    taken.append(os.dup(0))
            except OSError:
                pass
            try:
                with pytest.raises(TransientError, match="too many open files"):
                    await runtime.start(launch(), {})
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for descriptor in taken:
                    os.close(descriptor)
            assert runtime.instances == {}
            assert not stage.path().exists()
            await runtime.start(launch(), {})
            await running(runtime)

    live(scene())


class Barren(Hatchery):
    """A hatchery whose forks fail, as they do where no process is left to be had."""

    async def hatch(self, path: str) -> socket.socket:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_no_process_left_is_told_and_leaves_nothing(stage):
    async def scene():
        async with stage.runtime():
            site = Site(
                directory=str(stage.state),
                hatchery=Barren(64),
                on_change=stage.changes.append,
                clock=lambda: 0.0,
                boot="b",
            )
            slot = Slot("chat/0", site)
            with pytest.raises(TransientError, match="no room for another process") as caught:
                await slot.start(launch(), {})
            assert caught.value.reason is Reason.StartFailed
            assert slot.vacant
            assert not stage.path().exists()

    live(scene())


def test_a_slot_that_cannot_be_read_is_unknown_and_not_absent(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            was = await running(runtime)
        path = stage.path() / "launch.json"
        good = path.read_bytes()
        path.write_bytes(good[:100])
        async with stage.runtime() as runtime:
            phase = runtime.instances["chat/0"].phase
            assert isinstance(phase, Unknown)
            assert "launch.json" in phase.reason
            with pytest.raises(TransientError):
                await runtime.start(launch(run=2), {})
            path.write_bytes(good)
            await runtime.look()
            assert await running(runtime) == was

    live(scene())


def test_a_record_cut_off_by_a_power_cut_is_set_aside_when_nothing_of_it_can_run(stage, tmp_path):
    """Though a daemon with another state directory has one of the same name."""
    other = Stage(tmp_path / "other")

    async def scene():
        for each in (stage, other):
            async with each.runtime() as runtime:
                await runtime.start(launch(), {})
        stage.clear()
        (stage.path() / "launch.json").write_bytes(b"")
        async with stage.runtime() as runtime:
            assert runtime.instances == {}
            await runtime.start(launch(), {})
            await running(runtime)

    try:
        live(scene())
    finally:
        other.clear()


def test_a_record_that_was_cut_off_is_not_set_aside_while_something_of_it_runs(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            pid = (await running(runtime)).pid
        for keeper in stage.keepers():
            os.kill(keeper, 9)
        eventually(lambda: not stage.keepers())
        (stage.path() / "launch.json").write_bytes(b"")
        for lost in (False, True):
            if lost:
                (stage.path() / "run.json").write_bytes(b"")
            async with stage.runtime() as runtime:
                assert isinstance(runtime.instances["chat/0"].phase, Unknown)
                assert alive(pid)

    live(scene())


def test_a_directory_of_slots_that_cannot_be_listed_is_unknown(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            was = runtime.instances["chat/0"]
            slots = stage.state / "slots"
            slots.rename(stage.state / "aside")
            slots.write_text("")
            await runtime.look()
            assert isinstance(runtime.table, Unknown)
            assert "slots" in runtime.degraded[0]
            slots.unlink()
            (stage.state / "aside").rename(slots)
            await runtime.look()
            assert runtime.table == {"chat/0": was}
            assert runtime.degraded == ()

    live(scene())


def test_a_removed_directory_does_not_make_a_running_instance_absent(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            was = await running(runtime)
            shutil.rmtree(stage.path())
            await runtime.look()
            await runtime._slots["chat/0"].find()
            assert await running(runtime) == was
            await runtime.stop("chat/0", 1, 5.0, Reason.StopAsked)
            assert not alive(was.pid)

    live(scene())


def test_a_keeper_that_dies_while_it_is_ordered_costs_no_run(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh("exit 0")), {})
            await ended(runtime)
            for keeper in stage.keepers():
                os.kill(keeper, 9)  # not noticed yet: nothing has run in between
            await runtime.start(launch(run=2), {})
            assert (await running(runtime)).pid
            assert runtime.instances["chat/0"].launch.run == 2

    live(scene())


def test_a_refused_order_leaves_a_record_that_can_be_tried_again(stage):
    async def scene():
        async with stage.runtime() as runtime:
            with pytest.raises(TransientError, match="at most"):
                await runtime.start(launch(), {"big": "x" * 70_000})
            assert isinstance(runtime.instances["chat/0"].phase, Recorded | Exited)
            await runtime.start(launch(run=2), {})
            await running(runtime)

    live(scene())
