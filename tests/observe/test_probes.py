"""Readiness by real servers on real ports, asked by the real prober."""

import resource
import socket
import subprocess
import sys
import time

import pytest

from reconciler.asking import Answer, Question, ask, get, post
from reconciler.model.observation import Failing, NotReady, Ready, Unknown
from reconciler.model.status import Reason
from reconciler.ready import readable
from tests.eventually import eventually_async
from tests.observe.sights import probe, running
from tests.observe.watching import HERE, LOADING, engine, ready, response, scenario, watching
from tests.ports import free_port


@scenario
async def test_it_becomes_ready_once_it_answers_2xx():
    """Refused, then loading, then ready: each is told once, in words."""
    port = free_port()
    with watching(running(pid=HERE, port=port)) as seen:
        await eventually_async(lambda: seen.now() == NotReady(detail="connection refused"))
        async with engine(LOADING, port) as server:
            await eventually_async(lambda: seen.now() == NotReady(detail="503 Loading model"))
            server.answer = response("204 No Content")
            began = time.monotonic()
            state = await seen.until(Ready)
            assert state.since >= began
            assert seen.prober.readiness("m/0") == (state, True)
    assert [type(state) for state in seen.told] == [NotReady, NotReady, Ready]


@scenario
async def test_what_stays_as_it_is_is_not_told_again():
    """A hundred probes of a healthy server wake nobody."""
    async with engine() as server:
        with watching(running(pid=HERE, port=server.port, probe=probe(interval=0.01))) as seen:
            await eventually_async(lambda: len(server.asked) > 20)
            assert len(seen.told) == 1


@scenario
async def test_a_start_is_watched_closely_though_the_interval_is_long():
    """The first probes are milliseconds apart: nobody waits for an interval to learn that it is up."""
    async with engine(LOADING) as server:
        with watching(running(pid=HERE, port=server.port, probe=probe(interval=3600.0))) as seen:
            await eventually_async(lambda: len(server.asked) >= 3)
            server.answer = response()
            await seen.until(Ready)


ANSWERS = {
    "an error with a message": (LOADING, "503 Loading model"),
    "an error without": (response("404 Not Found", b"<html>"), "404 Not Found"),
    "a redirect, which proves nothing": (response("302 Found", b"", "Location: /x"), "302 Found"),
    "a message that would control the terminal": (
        response("500 x", b'{"error":{"message":"a\\u001b[31mb\\nc"}}', "Content-Type: application/json"),
        "500 a [31mb c",
    ),
    "a message as FastAPI has it": (response("500 x", b'{"error":"oh"}', "Content-Type: application/json"), "500 oh"),
    "JSON nested too deep": (response("500 x", b'{"a":' * 9000, "Content-Type: application/json"), "500"),
    "chunks": (
        b"HTTP/1.1 503 x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'11\r\n{"message":"wait"\r\n1\r\n}\r\n0\r\n\r\n',
        "503",
    ),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n", "no HTTP answer"),
}


@pytest.mark.parametrize(("answer", "detail"), ANSWERS.values(), ids=ANSWERS)
def test_what_it_answered_instead_is_told_in_words(answer, detail):
    """The detail begins with the status and says what the server said, printable and short."""

    @scenario
    async def run():
        async with engine(answer) as server:
            with watching(running(pid=HERE, port=server.port)) as seen:
                await eventually_async(lambda: seen.told)
                assert isinstance(seen.now(), NotReady)
                assert seen.now().detail.startswith(detail)
                assert seen.now().detail.isprintable()

    run()


@scenario
async def test_no_answer_within_the_timeout_is_a_failure():
    """The deadline is the probe's own."""
    async with engine() as server:
        server.answer = None
        with watching(running(pid=HERE, port=server.port, probe=probe(timeout=0.05))) as seen:
            await eventually_async(lambda: seen.now() == NotReady(detail="no answer in 50ms"))


@scenario
async def test_an_endless_answer_is_read_up_to_a_bound():
    """A 200 without end is judged by its status once 64 KiB were read."""
    async with engine(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000) as server:
        server.hangs_up = False
        with watching(running(pid=HERE, port=server.port)) as seen:
            await seen.until(Ready)


@scenario
async def test_without_a_path_a_listening_port_is_enough():
    """And no request is made there."""
    async with engine() as server:
        with watching(running(pid=HERE, port=server.port, probe=probe(None))) as seen:
            await seen.until(Ready)
            assert server.asked == []


@scenario
async def test_without_a_path_a_port_where_nobody_listens_is_not_enough():
    """Not even in the range of ports that the kernel hands out, where a socket may connect to itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with watching(running(pid=HERE, port=port, probe=probe(None, interval=0.001))) as seen:
        await eventually_async(lambda: seen.told)
        assert seen.now() == NotReady(detail="connection refused")


@scenario
async def test_without_a_port_it_is_ready_as_soon_as_it_runs():
    """There is nothing to ask, at once or later."""
    with watching(running(pid=HERE, port=None)) as seen:
        assert isinstance(seen.now(), Ready)
        assert seen.prober.readiness("m/0") == (seen.now(), True)


@scenario
async def test_it_never_becomes_ready_while_it_never_answers_well():
    """Fault 17: however often it is asked, and it is asked on."""
    async with engine(LOADING) as server:
        with watching(running(pid=HERE, port=server.port, probe=probe(interval=0.01))) as seen:
            await eventually_async(lambda: len(server.asked) > 30)
            assert seen.prober.readiness("m/0") == (NotReady(detail="503 Loading model"), False)


@scenario
async def test_what_was_ready_and_hangs_is_failing_from_the_first_silent_probe_on():
    """Fault 18: failures count up, since the first of them."""
    async with engine() as server:
        with watching(running(pid=HERE, port=server.port, probe=probe(timeout=0.05))) as seen:
            await seen.until(Ready)
            server.answer = None
            first = await seen.until(Failing)
            assert (first.failures, first.detail) == (1, "no answer in 50ms")
            await eventually_async(lambda: getattr(seen.now(), "failures", 0) >= 3)
            assert seen.now().since == first.since
            assert seen.prober.readiness("m/0") == (seen.now(), True)


@scenario
async def test_an_answer_in_between_begins_the_count_anew():
    """Fault 19: a flapping probe does not add up; and it is ready again only since the recovery."""
    async with engine() as server:
        with watching(running(pid=HERE, port=server.port, probe=probe(interval=0.02))) as seen:
            before = await seen.until(Ready)
            for _ in range(3):
                server.answer = response("500 x")
                await seen.until(Failing)
                server.answer = response()
                after = await seen.until(Ready)
                assert after.since > before.since
                before = after
            counts = [state.failures for state in seen.told if isinstance(state, Failing)]
            assert counts.count(1) == 3


@scenario
async def test_what_is_adopted_stays_ready_until_a_probe_says_otherwise():
    """A restarted daemon takes nothing out of rotation; a failure then is one of something that had been ready."""
    async with engine() as server:
        with watching(ready(port=server.port)) as seen:
            assert seen.now() == Ready(since=1.0)
            await eventually_async(lambda: len(server.asked) >= 2)
            assert seen.now() == Ready(since=1.0)
            assert seen.told == []
            server.answer = response("500 x")
            await seen.until(Failing)


@scenario
async def test_a_thief_on_the_port_gets_no_traffic_and_is_named():
    """Fault 24: another's process answers well on our port; ours is not ready for it."""
    thief = (
        "import http.server, sys\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n"
        "print(server.server_port, flush=True)\n"
        "server.serve_forever()\n"
    )
    argv = [sys.executable, "-c", thief]
    with (
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as process,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as ours,
    ):
        try:
            assert process.stdout
            port = int(process.stdout.readline())
            with watching(running(pid=ours.pid, port=port, probe=probe("/"))) as seen:
                await eventually_async(lambda: seen.told)
                state = seen.now()
                assert isinstance(state, NotReady)
                assert state.reason is Reason.PortTaken
                assert state.detail.startswith(f"port {port} is held by pid {process.pid} ")
        finally:
            process.kill()
            ours.kill()


@scenario
async def test_a_thief_that_answers_badly_or_not_at_all_is_named_too():
    """It is no reason to wait for the start to run out of time."""
    async with engine() as server:
        server.answer = None
        who = {"stranger": lambda _port, _pid: "pid 4242 python"}
        with watching(running(pid=HERE, port=server.port, probe=probe(timeout=0.05)), **who) as seen:
            await eventually_async(lambda: seen.told)
            detail = f"port {server.port} is held by pid 4242 python"
            assert seen.now() == NotReady(detail=detail, reason=Reason.PortTaken)


@scenario
async def test_while_it_cannot_be_told_who_listens_it_is_not_ready():
    """Unknown is not ours."""
    async with engine() as server:
        who = {"stranger": lambda _port, _pid: Unknown(reason="no /proc")}
        with watching(running(pid=HERE, port=server.port), **who) as seen:
            await eventually_async(lambda: seen.told)
            assert seen.now() == NotReady(detail=f"cannot tell who listens on port {server.port}: no /proc")


@scenario
async def test_who_listens_is_asked_once_and_again_when_the_listener_was_away():
    """It costs a look at all processes: not one for each probe."""
    looks = []
    who = {"stranger": lambda port, _pid: looks.append(port)}
    port = free_port()
    with watching(running(pid=HERE, port=port, probe=probe(interval=0.01)), **who) as seen:
        async with engine(port=port) as server:
            await eventually_async(lambda: len(server.asked) > 10)
            assert looks == [port]
        # several times: the first may have been a late answer of the server before
        await eventually_async(lambda: isinstance(seen.told[-1], Failing) and seen.told[-1].failures >= 4)
        async with engine(port=port) as server:
            await seen.until(Ready)
            assert looks == [port, port]


@scenario
async def test_a_probe_that_this_process_was_too_late_for_is_not_counted():
    """Fault 11: the loop is blocked far past the deadline of a probe; nothing is held against the server."""
    async with engine() as server:
        with watching(ready(port=server.port, probe=probe(timeout=0.5))) as seen:
            await eventually_async(lambda: len(server.asked) >= 2)
            for _ in range(2):
                server.answer = None
                asked = len(server.asked)
                await eventually_async(lambda count=asked: len(server.asked) > count)
                end = time.monotonic() + 1.2
                while time.monotonic() < end:
                    pass  # the fault itself: nothing else runs in here
                server.answer = response()
                asked = len(server.asked)
                await eventually_async(lambda count=asked: len(server.asked) > count)
            assert [state for state in seen.told if isinstance(state, Failing)] == []


@scenario
async def test_an_answer_that_came_while_this_process_was_blocked_counts():
    """It lies in the socket's buffer, past its deadline and none the worse for it."""
    argv = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen([*argv, "--directory", "/proc/self"], stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            assert process.stdout
            port = int(process.stdout.readline().split()[5])
            answers = []
            question = Question(port, get("/limits", port), 0.2, answers.append)
            due = time.monotonic() + 0.2
            assert question._sock
            assert readable(question._sock.fileno(), 60)
            while time.monotonic() < due:
                pass
            await eventually_async(lambda: answers)
            assert (answers[0].good, answers[0].late, answers[0].status) == (True, False, 200)
        finally:
            process.kill()


@scenario
async def test_a_question_can_be_waited_for():
    """With its answer, its status, and within its time."""
    async with engine(response("404 Not Found", b'{"message":"gone"}', "Content-Type: application/json")) as server:
        request = post("/v1/x", server.port, {"a": 1})
        assert await ask(server.port, request, 20.0) == Answer(
            good=False, connected=True, status=404, detail="404 gone"
        )
        assert server.asked == [("POST", "/v1/x", '{"a": 1}')]
        server.answer = None
        assert (await ask(server.port, request, 0.05)).detail == "no answer in 50ms"


@scenario
async def test_a_want_of_descriptors_is_our_own_failure():
    """Fault 15: no socket can be made, so nothing is said about the server."""
    async with engine() as server:
        with watching(ready(port=server.port)) as seen:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            asked = len(server.asked)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                end = time.monotonic() + 0.3
                await eventually_async(lambda: time.monotonic() > end)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await eventually_async(lambda: len(server.asked) > asked)
            assert seen.told == []


@scenario
async def test_a_tiny_request_proves_that_it_still_infers():
    """/health answers on while the model does not: that is a failure, and an answer ends it."""
    async with engine() as server:
        server.by_path["/v1/completions"] = response("500 Internal Server Error")
        settings = probe(interval=0.02, inference=0.05)
        with watching(running(pid=HERE, port=server.port, probe=settings)) as seen:
            said = "a tiny request got 500 Internal Server Error"  # not at first, where this process is too late for it
            await eventually_async(lambda: isinstance(seen.now(), Failing) and seen.now().detail == said)
            assert (
                "POST",
                "/v1/completions",
                '{"model": "m", "prompt": "are you there?", "max_tokens": 1}',
            ) in server.asked
            await eventually_async(lambda: getattr(seen.now(), "failures", 0) >= 3)
            server.by_path.clear()
            await seen.until(Ready)


@scenario
async def test_a_tiny_request_that_hangs_fails_after_its_own_time():
    """It may take as long as the time between two of them."""
    async with engine() as server:
        server.by_path["/v1/completions"] = None
        with watching(ready(port=server.port, probe=probe(inference=0.1))) as seen:
            await seen.until(Failing)
            assert seen.now().detail == "a tiny request got no answer in 100ms"


@scenario
async def test_no_tiny_request_is_made_before_it_is_ready():
    """A model that is still loading is not asked to infer."""
    async with engine(LOADING) as server:
        with watching(running(pid=HERE, port=server.port, probe=probe(interval=0.01, inference=0.01))):
            await eventually_async(lambda: len(server.asked) > 20)
            assert server.times("/v1/completions") == 0


@scenario
async def test_another_health_path_is_asked_from_now_on_without_a_restart():
    """The probe is a live setting; what was known stays known."""
    async with engine() as server:
        with watching(running(pid=HERE, port=server.port, probe=probe("/old", interval=3600.0))) as seen:
            state = await seen.until(Ready)
            seen.prober.watch(running(pid=HERE, port=server.port, probe=probe("/new")))
            await eventually_async(lambda: server.times("/new") >= 2)
            assert (server.times("/old"), seen.now()) == (1, state)


@scenario
async def test_another_run_of_the_slot_starts_from_nothing():
    """What the last run proved is not the next one's."""
    async with engine() as server:
        with watching(running(pid=HERE, port=server.port)) as seen:
            await seen.until(Ready)
            seen.prober.watch(running(pid=HERE, port=free_port(), run=2))
            assert seen.prober.readiness("m/0") == (NotReady(), False)


@scenario
async def test_what_is_forgotten_is_asked_no_more():
    """No timer and no question is left behind."""
    async with engine() as server:
        with watching(running(pid=HERE, port=server.port, probe=probe(interval=0.1))) as seen:
            await seen.until(Ready)
            seen.prober.forget("m/0")
            asked = server.times("/health")
            with watching(running("n/0", pid=HERE, port=server.port, probe=probe("/other", interval=0.1))):
                await eventually_async(lambda: server.times("/other") > 4)
            assert server.times("/health") == asked
            assert seen.prober.readiness("m/0") is None


@scenario
async def test_how_long_a_run_had_been_ready_is_kept_when_it_ends():
    """All its ready times together; none for a run that never was."""
    async with engine() as server:
        with watching(running(pid=HERE, port=server.port)) as seen:
            seen.prober.watch(running("n/0", pid=HERE, port=free_port()))
            await seen.until(Ready)
            server.answer = response("500 x")
            await seen.until(Failing)
            server.answer = response()
            await seen.until(Ready)
            seen.prober.end("m/0", 1)
            seen.prober.end("n/0", 1)
            total = seen.prober.ready_for("m/0", 1)
            assert total is not None
            assert 0 < total < 60
            assert seen.prober.ready_for("m/0", 2) is None
            assert seen.prober.ready_for("n/0", 1) is None
            assert seen.prober.readiness("m/0") is None
