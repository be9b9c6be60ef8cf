"""Instances are started once, found again after any crash of the daemon or a keeper, and written down as they ended."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import held
from reconciler.act import procfs, record, runfile
from reconciler.act.hatchery import Hatchery
from reconciler.act.link import connect
from reconciler.model.errors import TransientError
from reconciler.model.observation import Exited, Ready, Recorded, Running
from reconciler.model.status import Reason
from tests.act.stage import alive, ended, environ, identity, launch, live, py, running, said, sh
from tests.eventually import eventually, eventually_async

ROOT = Path(__file__).parents[2]


def test_a_start_ordered_twice_starts_once(stage):
    async def scene():
        async with stage.runtime() as runtime:
            order = launch(argv=sh("echo begun; exec sleep 1000"))
            await asyncio.gather(runtime.start(order, {}), runtime.start(order, {}))
            await said(stage, "begun")
            first = runtime.instances["chat/0"].phase
            await runtime.start(order, {})
            assert runtime.instances["chat/0"].phase == first
            assert stage.log() == "begun\n"
            assert len(stage.keepers()) == 1

    live(scene())


def test_a_second_runtime_adopts_what_the_first_left(stage):
    async def scene():
        async with stage.runtime() as runtime:
            for index in range(5):
                await runtime.start(launch(f"chat/{index}"), {})
            before = dict(runtime.instances)
        async with stage.runtime() as runtime:
            await eventually_async(lambda: runtime.instances == before, what="all are found")
            assert all(alive(instance.phase.pid) for instance in before.values())

    live(scene())


def test_a_killed_daemon_leaves_its_engines_with_the_same_pid_and_start_time(stage):
    script = (
        "import asyncio, sys\n"
        "from tests.act.stage import Stage, launch\n"
        "from pathlib import Path\n"
        "async def main():\n"
        "    async with Stage(Path(sys.argv[1])).runtime() as runtime:\n"
        "        await runtime.start(launch(), {})\n"
        "        print(runtime.instances['chat/0'].phase.pid, flush=True)\n"
        "        await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", script, stage.state], cwd=ROOT, stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    with daemon.stdout:
        was = identity(int(daemon.stdout.readline()))
    assert alive(was[0])
    daemon.kill()
    daemon.wait()

    async def scene():
        async with stage.runtime() as runtime:
            assert identity((await running(runtime)).pid) == was
            keeper = stage.keepers()[0]
            await runtime.stop("chat/0", 1, 5.0, Reason.StopAsked)
            await runtime.start(launch(run=2), {})
            assert stage.keepers() == [keeper], "the slot's keeper is used again"

    live(scene())


def test_a_record_without_a_keeper_is_recorded_and_can_be_started(stage):
    async def scene():
        async with stage.runtime() as runtime:
            order = launch()
            record.commit(str(stage.path()), record.prepare(str(stage.path()), record.new(order, procfs.BOOT)))
            await runtime.look()
            assert isinstance(runtime.instances["chat/0"].phase, Recorded)
            await runtime.start(order, {})
            await running(runtime)

    live(scene())


def test_what_was_cut_off_before_it_was_recorded_is_removed(stage):
    async def scene():
        async with stage.runtime() as runtime:
            record.prepare(str(stage.path()), record.new(launch(), procfs.BOOT))
            await runtime.look()
            assert runtime.instances == {}
            assert not stage.path().exists()

    live(scene())


def test_a_keeper_that_was_never_ordered_starts_nothing(stage):
    async def scene():
        async with stage.runtime() as runtime:
            record.commit(
                str(stage.path()),
                record.prepare(str(stage.path()), record.new(launch(), procfs.BOOT)),
            )
            hatchery = Hatchery(1024)
            (await hatchery.hatch(str(stage.path()))).close()
            await hatchery.close()
            await eventually_async(lambda: held.by_somebody(f"{stage.path()}/run.json"))
            await runtime.look()
            assert isinstance(runtime.instances["chat/0"].phase, Recorded)

    live(scene())


def test_an_order_whose_daemon_died_at_once_is_carried_out_once(stage):
    async def scene():
        async with stage.runtime():
            pass
        record.commit(str(stage.path()), record.prepare(str(stage.path()), record.new(launch(), procfs.BOOT)))
        hatchery = Hatchery(1024)
        sock = await hatchery.hatch(str(stage.path()))
        for _ in range(2):
            sock.send(json.dumps({"id": 1, "op": "start", "run": 1}).encode())
        sock.close()
        await hatchery.close()
        await eventually_async(lambda: stage.recorded().phase == runfile.RUNNING)
        pid = stage.recorded().pid
        async with stage.runtime() as runtime:
            assert (await running(runtime)).pid == pid

    live(scene())


def test_an_engine_outlives_its_keeper_and_is_kept_by_another(stage):
    talk = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done"

    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh(talk)), {})
            await said(stage, "line 3\n")
            was = await running(runtime)
            keeper = stage.keepers()[0]
            os.kill(keeper, signal.SIGKILL)
            await eventually_async(lambda: stage.keepers() not in ([], [keeper]), what="another keeper is there")
            seen = len(stage.log())
            await eventually_async(lambda: len(stage.log()) > seen + 100, what="the log goes on")
            assert await running(runtime) == was
            lines = stage.log().splitlines()
            assert lines == [f"line {n}" for n in range(1, len(lines) + 1)], "nothing was lost or doubled"
            await runtime.stop("chat/0", 1, 5.0, Reason.StopAsked)
            end = await ended(runtime)
            assert end.asked is Reason.StopAsked
            assert not alive(was.pid)

    live(scene())


def test_an_engine_that_ends_while_its_keeper_and_daemon_are_gone_is_known_to_have_ended(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            pid = (await running(runtime)).pid
        for keeper in stage.keepers():
            os.kill(keeper, signal.SIGKILL)
        eventually(lambda: not stage.keepers())
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not alive(pid))
        async with stage.runtime() as runtime:
            end = await ended(runtime)
            assert (end.code, end.signal, end.asked) == (None, None, None)
            assert "keeper was gone" in end.detail

    live(scene())


@pytest.mark.parametrize(
    ("argv", "code", "number"),
    [(sh("read x; exit 7"), 7, None), (sh("read x; kill -SEGV $$"), None, signal.SIGSEGV)],
    ids=["a status", "a signal"],
)
def test_how_an_engine_ends_while_no_daemon_is_there_is_written_down(stage, argv, code, number):
    async def scene():
        go = stage.state / "go"
        async with stage.runtime() as runtime:
            os.mkfifo(go)
            await runtime.start(launch(argv=sh(f"read x <{go}; {argv[2]}")), {})
        go.write_text("\n")
        eventually(lambda: stage.recorded().phase == runfile.EXITED)
        async with stage.runtime() as runtime:
            end = await ended(runtime)
            assert (end.code, end.signal, end.asked) == (code, number, None)

    live(scene())


def test_a_program_that_is_not_there_is_an_end_with_a_reason(stage):
    async def scene():
        async with stage.runtime() as runtime:
            notes = stage.state / "notes.txt"
            notes.write_text("no program")
            for run, argv, says, code in [
                (1, ("/nowhere/llama-server",), "cannot run /nowhere/llama-server: no such file", 127),
                (2, ("no-such-llama",), "cannot run no-such-llama: not found on PATH", 127),
                (3, (str(notes),), "permission denied; make it executable", 126),
            ]:
                await runtime.start(launch(run=run, argv=argv), {})
                end = await ended(runtime)
                assert says in end.detail
                assert (end.code, end.asked) == (code, None)
            await runtime.start(launch(run=4, directory="/nowhere"), {})
            assert "cannot run in /nowhere: no such file" in (await ended(runtime)).detail

    live(scene())


def test_the_last_words_of_a_failed_engine_are_part_of_its_end(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh(r"echo fine; printf 'error: \033[31mbad flag\n'; exit 1")), {})
            assert (await ended(runtime)).detail == "error:  [31mbad flag"

    live(scene())


def test_readiness_survives_the_daemon_and_counts_at_the_end(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            since = (await running(runtime)).since
            runtime.note_ready("chat/0", since)
            await eventually_async(lambda: runtime.instances["chat/0"].phase.was_ready)
        async with stage.runtime() as runtime:
            phase = await running(runtime)
            assert phase.readiness == Ready(since=since)
            assert phase.was_ready
            await runtime.stop("chat/0", 1, 5.0, Reason.SpecChanged)
            end = await ended(runtime)
            assert end.ready_for == pytest.approx(end.at - since)

    live(scene())


def test_new_live_settings_are_recorded_with_the_run_that_goes_on(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            before = await running(runtime)
            await runtime.update(launch(env={"later": "1"}))
        async with stage.runtime() as runtime:
            assert runtime.instances["chat/0"].launch.env == {"later": "1"}
            assert await running(runtime) == before
            with pytest.raises(TransientError, match="run 2"):
                await runtime.update(launch(run=2))

    live(scene())


def test_what_is_forgotten_leaves_its_log_and_nothing_else(stage):
    async def scene():
        async with stage.runtime() as runtime:
            for run in (1, 2):
                await runtime.start(launch(run=run, argv=sh("echo bye")), {})
                await ended(runtime)
            await runtime.forget("chat/0", 2)
            assert runtime.instances == {}
            assert not stage.path().exists()
            assert stage.log() == "bye\n"
            assert stage.processes() == []

    live(scene())


def test_what_runs_is_not_forgotten(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            pid = (await running(runtime)).pid
            with pytest.raises(TransientError, match="still runs"):
                await runtime.forget("chat/0", 1)
            assert alive(pid)
            assert stage.path().exists()

    live(scene())


def test_after_a_restart_of_the_machine_runs_are_lost_and_not_failed(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
        stage.clear()  # as a machine does
        path = stage.path() / "launch.json"
        path.write_text(path.read_text().replace(procfs.BOOT, "another-boot"))
        block = stage.recorded()
        block.boot = "another-boot"
        (stage.path() / "run.json").write_bytes(runfile.encode(block))
        async with stage.runtime() as runtime:
            end = await ended(runtime)
            assert (end.asked, end.detail) == (Reason.Lost, "the machine was restarted")
            assert not stage.keepers(), "nothing of it can run, so nobody is to look after it"
            one = runtime.instances["chat/0"]
            await runtime.look()
            assert runtime.instances["chat/0"] is one
            await runtime.start(launch(run=2), {})
            await running(runtime)

    live(scene())


def test_an_engine_gets_a_scrubbed_environment_and_no_open_file(stage):
    show = "import os, json; print(json.dumps([dict(os.environ), os.getcwd(), len(os.listdir('/proc/self/fd'))]))"

    async def scene():
        os.environ["HF_TOKEN_OF_THE_DAEMON"] = "x"
        try:
            async with stage.runtime() as runtime:
                await runtime.start(launch(argv=py(show), env={"GIVEN": "1"}), {})
                await ended(runtime)
        finally:
            del os.environ["HF_TOKEN_OF_THE_DAEMON"]
        env, cwd, files = json.loads(stage.log())
        assert env["GIVEN"] == "1"
        assert env["HOLDFAST_SLOT"] == "chat/0"
        kept = {"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR"}
        ours = {"GIVEN", "HOLDFAST_SLOT", "HOLDFAST_TOKEN"}
        assert {key for key in env if not key.startswith("LC_")} <= kept | ours
        assert cwd == str(stage.path() / "home")
        assert files == 4  # the three standard ones, and the directory being listed

    live(scene())


def test_an_engine_is_killed_for_memory_before_its_keeper(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            engine, keeper = (await running(runtime)).pid, stage.keepers()[0]
            scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (engine, keeper)]
            assert scores[0] > scores[1]

    live(scene())


def test_a_keeper_costs_at_most_4_mib(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh("seq 200000; exec sleep 1000")), {})
            await said(stage, "\n200000\n")
            rollup = Path(f"/proc/{stage.keepers()[0]}/smaps_rollup").read_text().splitlines()
            private = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
            assert private <= 4096

    live(scene())


def test_no_secret_is_in_any_file_argument_or_keeper(stage):
    canary = "canary-7c1d2f"
    secret = {"secret": "hf-token"}

    async def scene():
        async with stage.runtime() as runtime:
            from reconciler.model.secret import Secret

            env = {"HF_TOKEN": Secret(**secret)}
            await runtime.start(launch(argv=["sleep", "1000"], env=env), {"hf-token": canary})
            engine = (await running(runtime)).pid
            carries = f"HF_TOKEN={canary}"
            await eventually_async(lambda: carries in environ(engine), what="it is executed, and carries its secret")
            for directory, _, files in os.walk(stage.state):
                for name in files:
                    path = Path(directory, name)
                    if path.is_file():
                        assert canary.encode() not in path.read_bytes()
            for pid in stage.processes():
                assert canary.encode() not in (procfs.read(f"/proc/{pid}/cmdline") or b"")
                assert pid == engine or not any(canary in text for text in environ(pid))
            assert canary not in repr(runtime.instances)
            await runtime.stop("chat/0", 1, 5.0, Reason.StopAsked)
            await runtime.start(launch(run=2, argv=sh("echo token $HF_TOKEN; exit 1"), env=env), {"hf-token": canary})
            assert (await ended(runtime)).detail == "token ***"

    live(scene())


def test_two_runtimes_at_once_make_one_keeper(stage):
    async def scene():
        async with stage.runtime() as one, stage.runtime() as other:
            order = launch()
            await one.start(order, {})
            assert (await running(one)).pid
            killed = stage.keepers()
            for keeper in killed:
                os.kill(keeper, signal.SIGKILL)  # both see it go, and both hatch
            await eventually_async(lambda: stage.keepers() and not {*stage.keepers()} & {*killed})
            await other.look()
            assert (await running(one)).pid == (await running(other)).pid
            await eventually_async(lambda: len(stage.keepers()) == 1, what="the one that came too late has left")

    live(scene())


def test_an_unchanged_instance_stays_the_same_object(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            before = runtime.instances["chat/0"]
            stage.changes.clear()
            await runtime.look()
            assert runtime.instances["chat/0"] is before
            assert stage.changes == []

    live(scene())


def test_an_engine_may_talk_while_it_has_no_keeper(stage):
    talk = "n=0; while :; do n=$((n+1)); echo line $n; echo $n > count; sleep 0.01; done"

    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh(talk)), {})
            pid = (await running(runtime)).pid
            await said(stage, "line 3\n")
        for keeper in stage.keepers():
            os.kill(keeper, signal.SIGKILL)
        eventually(lambda: not stage.keepers())
        count = stage.path() / "home" / "count"
        before = int(count.read_text() or 0)
        eventually(lambda: int(count.read_text() or 0) > before + 5, what="it goes on though nobody reads")
        async with stage.runtime() as runtime:
            assert (await running(runtime)).pid == pid
            await said(stage, f"line {before + 5}\n")

    live(scene())


def test_a_run_that_is_over_is_not_started_again(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh("echo once")), {})
            end = await ended(runtime)
            with connect(str(stage.path())) as sock:
                sock.setblocking(True)
                sock.settimeout(60)
                sock.send(b'{"id": 1, "op": "start", "run": 1}')
                assert json.loads(sock.recv(65536))["state"]["phase"] == runfile.EXITED
            await runtime.start(launch(argv=sh("echo once")), {})
            assert await ended(runtime) == end
            assert stage.log() == "once\n"

    live(scene())


def test_a_keeper_answers_nonsense_and_goes_on(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            before = await running(runtime)
            for packet in (b"{", b"[1]", b'{"op": "stop", "run": "x"}', b'{"op": "start", "run": 9}', b"\xff" * 9000):
                with connect(str(stage.path())) as sock:
                    sock.setblocking(True)
                    sock.settimeout(60)
                    sock.send(packet)
                    assert "error" in json.loads(sock.recv(65536))
            assert before.pid == (await running(runtime)).pid
            await runtime.stop("chat/0", 1, 5.0, Reason.StopAsked)

    live(scene())


def test_a_path_longer_than_a_socket_name_works(stage):
    async def scene():
        stage.state = stage.state / ("d" * 120)
        stage.state.mkdir(parents=True)
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
        async with stage.runtime() as runtime:
            await running(runtime)

    live(scene())


def test_records_and_sockets_are_for_their_owner_only(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(), {})
            for path in [stage.path(), stage.path() / "home", stage.logs()]:
                assert path.stat().st_mode & 0o777 == 0o700
            for path in [*stage.path().iterdir(), *stage.logs().iterdir()]:
                if not path.is_dir():
                    assert path.stat().st_mode & 0o777 == 0o600, path

    live(scene())


def test_a_keeper_without_a_run_and_without_company_leaves(stage):
    """IDLE is 10 s: too long for a test of its own, so it is asked to close instead."""

    async def scene():
        async with stage.runtime() as runtime:
            await runtime.start(launch(argv=sh("exit 0")), {})
            assert isinstance(await ended(runtime), Exited)
            with connect(str(stage.path())) as sock:
                sock.send(b'{"id": 1, "op": "close"}')
            await eventually_async(lambda: not stage.keepers())
            await runtime.start(launch(run=2), {})
            assert isinstance(runtime.instances["chat/0"].phase, Running)

    live(scene())


def test_a_keeper_told_to_end_stays_until_its_engine_has_ended(stage):
    """As when the machine goes down: everybody gets SIGTERM, and nobody is to hold that up."""

    async def scene():
        async with stage.runtime() as runtime:
            os.mkfifo(stage.state / "go")
            await runtime.start(launch(argv=sh("trap '' TERM; read x < go; exit 3"), directory=str(stage.state)), {})
            keeper = stage.keepers()[0]
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                os.kill(keeper, number)
            await running(runtime)
            assert alive(keeper)
            (stage.state / "go").write_text("\n")
            assert (await ended(runtime)).code == 3
            await eventually_async(lambda: not alive(keeper))

    live(scene())


def test_a_dead_forkserver_is_replaced(stage):
    async def scene():
        async with stage.runtime() as runtime:
            os.kill(runtime._site.hatchery.pid, signal.SIGKILL)
            await runtime.start(launch(), {})
            await running(runtime)

    live(scene())


def test_fifty_are_adopted(stage):
    async def scene():
        async with stage.runtime() as runtime:
            await asyncio.gather(*(runtime.start(launch(f"chat/{index}"), {}) for index in range(50)))
            before = dict(runtime.instances)
        async with stage.runtime() as runtime:
            await eventually_async(lambda: runtime.instances == before, what="all are found")
            assert len(before) == 50
            stops = (runtime.stop(slot, 1, 5.0, Reason.StopAsked) for slot in before)
            await asyncio.gather(*stops)

    live(scene())
