"""Stop ends all of it and nobody else, and what ended is told apart: asked, failed, killed for memory."""

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from reconciler.act import procfs, runfile
from reconciler.model.errors import TransientError
from reconciler.model.observation import Stopping, Unknown
from reconciler.model.status import Reason
from tests.act.stage import alive, ended, environ, identity, launch, live, py, running, said, sh
from tests.eventually import eventually, eventually_async

DEAF = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
DAEMONISED = """
import os, signal, sys, time
for how in range(4):
    if os.fork() == 0:
        if how >= 1:
            os.setsid()
        if how >= 2 and os.fork():
            os._exit(0)
        if how == 3:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(1, b"child %d\\n" % os.getpid())
        time.sleep(1000)
        os._exit(0)
while True:
    time.sleep(1000)
"""


def carriers(token):
    return [pid for pid in procfs.pids() if alive(pid) and f"HOLDFAST_TOKEN={token}" in environ(pid)]


def token_of(stage):
    return stage.recorded().token


async def with_children(stage, runtime, run=1):
    await runtime.start(launch(run=run, argv=py(DAEMONISED)), {})
    await eventually_async(lambda: stage.log(run=run).count("child") == 4)
    await eventually_async(lambda: len(carriers(token_of(stage))) == 5, what="who forked twice has left in between")
    return (await running(runtime)).pid


def test_sigterm_is_enough_for_who_hears_it(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(
                launch(argv=sh("trap 'echo ending; exit 0' TERM; echo up; while :; do sleep 0.02; done")), {}
            )
            await said(stage, "up")
            await runtime.stop("chat/0", 1, 60.0, Reason.ScaledDown)
            end = await ended(runtime)
            assert (end.code, end.signal, end.asked) == (0, None, Reason.ScaledDown)
            assert stage.log().endswith("ending\n")

    live(scene())


def test_who_ignores_sigterm_is_killed_after_the_grace(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh(DEAF)), {})
            await said(stage, "deaf")
            before = time.monotonic()
            await runtime.stop("chat/0", 1, 0.3, Reason.SpecChanged)
            end = await ended(runtime)
            assert time.monotonic() - before >= 0.3
            assert (end.signal, end.asked, end.oom) == (signal.SIGKILL, Reason.SpecChanged, False)
            assert "did not end on SIGTERM" in end.detail

    live(scene())


def test_a_second_stop_may_shorten_the_grace(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh(DEAF)), {})
            await said(stage, "deaf")
            first = asyncio.create_task(runtime.stop("chat/0", 1, 300.0, Reason.SpecChanged))
            await eventually_async(lambda: isinstance(runtime.instances["chat/0"].phase, Stopping))
            await runtime.stop("chat/0", 1, 0.0, Reason.StopAsked)
            await first
            assert (await ended(runtime)).asked is Reason.SpecChanged, "the first reason stands"

    live(scene())


def test_nothing_is_left_of_children_that_left_the_group(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await with_children(stage, runtime)
            token = token_of(stage)
            await runtime.stop("chat/0", 1, 0.2, Reason.StopAsked)
            assert carriers(token) == []

    live(scene())


def test_nothing_is_left_when_the_engine_ends_by_itself(stage):
    async def scene():
        async with stage.runtime() as runtime:
            pid = await with_children(stage, runtime)
            token = token_of(stage)
            os.kill(pid, signal.SIGKILL)
            end = await ended(runtime)
            assert carriers(token) == [], "all of it is gone before the end is told"
            assert (end.signal, end.asked, end.oom) == (signal.SIGKILL, None, False)

    live(scene())


@pytest.mark.parametrize("alone", [False, True], ids=["its main process too", "its main process had ended"])
def test_nothing_is_left_after_the_keeper_was_killed(stage, alone):
    async def scene():
        async with stage.runtime() as runtime:
            pid = await with_children(stage, runtime)
            token = token_of(stage)
        for keeper in stage.keepers():
            os.kill(keeper, signal.SIGKILL)
        if alone:
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: not alive(pid))
        async with stage.runtime() as runtime:
            if not alone:
                await runtime.stop("chat/0", 1, 0.2, Reason.StopAsked)
            await ended(runtime)
            assert carriers(token) == []

    live(scene())


def test_a_stop_goes_on_when_daemon_and_keeper_are_killed_in_it(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh(DEAF)), {})
            await said(stage, "deaf")
            pid = (await running(runtime)).pid
            stop = asyncio.create_task(runtime.stop("chat/0", 1, 300.0, Reason.NotInFleet))
            await eventually_async(lambda: isinstance(runtime.instances["chat/0"].phase, Stopping))
            stop.cancel()
        for keeper in stage.keepers():
            os.kill(keeper, signal.SIGKILL)
        eventually(lambda: not stage.keepers())
        assert alive(pid)
        forge(stage, kill_at=time.monotonic())  # the grace has passed meanwhile
        async with stage.runtime() as runtime:
            end = await ended(runtime)
            assert end.asked is Reason.NotInFleet
            assert not alive(pid)

    live(scene())


def forge(stage, **fields):
    path = stage.path() / "run.json"
    run = stage.recorded()
    for name, value in fields.items():
        setattr(run, name, value)
    path.write_bytes(runfile.encode(run))


def test_a_stranger_with_a_recorded_pid_is_never_signalled(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
        stage.clear()
        with subprocess.Popen(["sleep", "1000"], start_new_session=True) as stranger:
            try:
                was = identity(stranger.pid)
                for start in (was[1], was[1] - 1):  # reused within the same tick, and later
                    forge(stage, pid=stranger.pid, start=start, phase=runfile.RUNNING)
                    async with stage.runtime() as runtime:
                        await ended(runtime)
                        await runtime.stop("chat/0", 1, 0.0, Reason.StopAsked)
                    forge(stage, pid=stranger.pid, start=start, phase=runfile.STOPPING, kill_at=0.0)
                    async with stage.runtime() as runtime:
                        await ended(runtime)
                    stage.clear()
                assert stranger.poll() is None
            finally:
                stranger.kill()

    live(scene())


def test_an_engine_that_wrote_over_its_environment_is_still_known(stage):
    """As setproctitle does: what it carries is then the FIFO it writes to."""

    async def scene():
        async with stage.runtime() as runtime:
            bare = "import os, time; os.execve('/bin/sleep', ['sleep', '1000'], {})"
            await runtime.start(launch(argv=py(bare)), {})
            pid = (await running(runtime)).pid
            await eventually_async(lambda: procfs.token_of(pid) is None and environ(pid) == [""])
        for keeper in stage.keepers():
            os.kill(keeper, signal.SIGKILL)
        async with stage.runtime() as runtime:
            assert (await running(runtime)).pid == pid
            await runtime.stop("chat/0", 1, 5.0, Reason.StopAsked)
            assert not alive(pid)

    live(scene())


def test_a_start_cut_off_before_its_pid_was_written_is_found_by_its_token(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            was = await running(runtime)
        for keeper in stage.keepers():
            os.kill(keeper, signal.SIGKILL)
        eventually(lambda: not stage.keepers())
        forge(stage, pid=None, start=None, phase=runfile.STARTING)
        async with stage.runtime() as runtime:
            assert (await running(runtime)).pid == was.pid

    live(scene())


def test_a_start_cut_off_before_anything_was_executed_is_no_failure(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh("exit 0")), {})
            await ended(runtime)
        stage.clear()
        forge(stage, pid=None, start=None, phase=runfile.STARTING, asked=None)
        async with stage.runtime() as runtime:
            assert (await ended(runtime)).asked is Reason.Lost

    live(scene())


def test_a_torn_record_of_a_run_does_not_hide_its_engine(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            was = await running(runtime)
        for keeper in stage.keepers():
            os.kill(keeper, signal.SIGKILL)
        eventually(lambda: not stage.keepers())
        (stage.path() / "run.json").write_bytes(b"\0" * 4096)
        async with stage.runtime() as runtime:
            assert (await running(runtime)).pid == was.pid

    live(scene())


def test_a_silent_keeper_makes_its_instance_unknown_until_it_speaks(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            was = await running(runtime)
            keeper = stage.keepers()[0]
        os.kill(keeper, signal.SIGSTOP)
        try:
            async with stage.runtime() as runtime:
                phase = runtime.instances["chat/0"].phase
                assert isinstance(phase, Unknown)
                assert "has not answered" in phase.reason
                with pytest.raises(TransientError, match="has not answered"):
                    await runtime.start(launch(run=2), {})
                os.kill(keeper, signal.SIGCONT)
                assert await running(runtime) == was
        finally:
            os.kill(keeper, signal.SIGCONT)

    live(scene())


MEMORY = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def tight():
    """Start what runs in this block in a memory group of 64 MiB; skipped where control groups cannot be made."""
    group = MEMORY / f"holdfast-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(64 * 2**20))
    except OSError:
        pytest.skip("needs a writable control group for memory")
    yield group

    def removed():
        try:
            group.rmdir()
        except OSError:
            return False
        return True

    eventually(removed)


def test_an_engine_killed_for_memory_is_told_as_such_with_the_figure(stage, tight):
    async def scene():
        here = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line)
        back = MEMORY / here.split(":", 2)[2].lstrip("/")
        try:
            (tight / "cgroup.procs").write_text(str(os.getpid()))
            async with stage.runtime() as runtime:
                (back / "cgroup.procs").write_text(str(os.getpid()))
                eat = "import sys\nblocks = []\nwhile True: blocks.append(b'x' * 2**20)"
                await runtime.start(launch(argv=py(eat)), {})
                end = await ended(runtime)
                assert end.oom
                assert (end.signal, end.asked) == (signal.SIGKILL, None)
                assert "GiB at most" in end.detail
                await runtime.start(launch(run=2), {})
                os.kill((await running(runtime)).pid, signal.SIGKILL)
                assert not (await ended(runtime)).oom, "another's death is not taken for its own"
        finally:
            (back / "cgroup.procs").write_text(str(os.getpid()))
            stage.clear()

    live(scene())
