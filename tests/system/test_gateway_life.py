"""The gateway's processes: reloaded, killed, hung, told to end, without its daemon. Ports 32000-32099."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.metrics import Metrics, ReplicaMetrics
from reconciler.model.routing import ENDED, Grant, Place, Served, Site
from tests.act.stage import alive
from tests.eventually import eventually, eventually_async
from tests.gateway.certificates import client, make
from tests.gateway.client import Answer, Raw, chat, once, request
from tests.gateway.upstream import upstream
from tests.system.box import LATEST
from tests.system.gate import Gate, Load, Stream, gate

pytestmark = pytest.mark.system


@pytest.fixture
def port(request):
    """One for each test of this file."""
    names = [name for name in vars(request.module) if name.startswith("test_")]
    return 32000 + 2 * names.index(request.node.name)


@pytest.fixture
def gateway(tmp_path, port):
    with gate(tmp_path, port) as made:
        yield made


@contextlib.asynccontextmanager
async def streaming(gateway: Gate, **tls: Any) -> AsyncGenerator[tuple[Stream, Callable[[], Awaitable[Answer]]]]:
    """A client in the middle of a stream; the second part ends it, and gives all that came."""
    script = gateway.engine.script = Stream()
    async with await Raw.open(gateway.port, **tls) as raw:
        asking = asyncio.create_task(raw.ask(chat(stream=True)))
        await eventually_async(lambda: script.sent, what="it streams")
        gateway.engine.script = "answer"

        async def rest() -> Answer:
            script.ends = True
            return await asking

        yield script, rest
        asking.cancel()


def whole(answer: Answer, script: Stream) -> bool:
    """Whether nothing of a stream is missing."""
    tokens = sum(b'"content"' in event for event in answer.events)
    return answer.whole and answer.events[-1] == b"data: [DONE]" and tokens == script.sent


def under_load(gateway: Gate, what: Callable[[], object]) -> Load:
    """Do something in a thread while clients ask all the time."""
    load = Load(gateway.port)

    async def run() -> None:
        clients = asyncio.create_task(load.keep())
        await eventually_async(lambda: load.answered > 100, what="the load is there")
        try:
            await asyncio.to_thread(what)
            enough = load.answered + 200
            await eventually_async(lambda: load.answered > enough, what="the load goes on")
        finally:
            load.stop()
            await clients

    asyncio.run(run())
    return load


def test_reloads_under_load_fail_no_request_and_refuse_no_connection(gateway):
    gateway.start()
    first, pid = gateway.workers(), gateway.pid

    def reloads() -> None:
        for _ in range(3):
            gateway.reload()

    load = under_load(gateway, reloads)
    assert load.failed == []
    assert gateway.pid == pid
    assert gateway.process is not None
    assert gateway.process.poll() is None
    assert not set(gateway.workers()) & set(first)
    assert "Traceback" not in gateway.said()


def test_a_stream_outlives_reloads_and_ends_whole(gateway):
    gateway.start()

    async def run() -> None:
        async with streaming(gateway) as (script, rest):
            for _ in range(2):
                await asyncio.to_thread(gateway.reload)
            answer = await rest()
        assert whole(answer, script)

    asyncio.run(run())
    eventually(lambda: len(gateway.workers()) == 2, within=LATEST, what="the old ones have ended")


def test_the_daemon_knows_over_a_reload_what_clients_want(gateway):
    gateway.start()

    async def run() -> None:
        def known() -> bool:
            models = gateway.daemon.reports[-1].models
            return "chat" in models and dict(models["chat"].in_flight) == {"chat/0": 1}

        async with streaming(gateway) as (_, rest):
            await eventually_async(known, what="the daemon knows")
            told = len(gateway.daemon.reports)
            await asyncio.to_thread(gateway.reload)
            await eventually_async(lambda: len(gateway.daemon.reports) > told + 5, what="it was told again and again")
            since = [report.models for report in gateway.daemon.reports[told:]]
            assert not [one for one in since if "chat" not in one or one["chat"].in_flight != {"chat/0": 1}]
            await rest()
            await eventually_async(lambda: not known(), what="it has ended")

    asyncio.run(run())


def test_a_reload_cuts_what_goes_on_for_longer_than_it_may(gateway):
    gateway.tell(drain=1.0)
    gateway.start()

    async def run() -> None:
        async with streaming(gateway) as (script, rest):
            await asyncio.to_thread(gateway.reload)
            await eventually_async(lambda: not gateway.engine.working, what="it was cut")
            answer = await rest()
        assert b"error" in answer.events[-1]
        assert b"[DONE]" not in answer.body
        assert script.sent

    asyncio.run(run())


def test_a_program_that_does_not_start_is_not_reloaded_into(gateway):
    gateway.start()
    before = gateway.workers()
    (gateway.newer / "msgspec.py").write_text("raise ImportError('half an upgrade')")
    os.kill(gateway.pid, signal.SIGHUP)
    eventually(lambda: "cannot reload: " in gateway.said(), within=LATEST, what="it says so")
    assert "half an upgrade; this one goes on" in gateway.said()
    assert gateway.workers() == before
    assert gateway.well()


def test_a_killed_worker_takes_only_its_own_connections_with_it(gateway):
    gateway.start()

    def kill() -> None:
        before = gateway.workers()
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(now := gateway.workers()) == 2 and before[0] not in now, what="another is there")

    load = under_load(gateway, kill)
    assert 0 < len(load.failed) <= 8, "those that it was answering, and no other"
    assert not [each for each in load.failed if each.startswith("connect: ConnectionRefused")]
    assert "by signal SIGKILL" in gateway.said()


def test_no_crash_of_it_leaves_keys_on_a_disk(gateway):
    gateway.start()
    for pid in (gateway.pid, *gateway.workers()):
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)


def test_signals_that_are_for_the_master_touch_no_worker(gateway):
    gateway.start()
    before = gateway.workers()
    for pid in before:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
    for _ in range(10):
        assert gateway.well()
    assert gateway.workers() == before


def test_connections_wait_while_no_worker_is_there(gateway):
    gateway.tell(workers=1)
    gateway.start()
    [worker] = gateway.workers()
    os.kill(worker, signal.SIGKILL)
    assert asyncio.run(once(gateway.port, chat())).status == 200


def test_a_worker_that_hangs_is_replaced_and_says_where(gateway):
    gateway.start()
    hung = gateway.workers()[0]
    os.kill(hung, signal.SIGSTOP)
    eventually(lambda: hung not in gateway.workers(), within=LATEST, what="it was ended")
    eventually(gateway.well, what="it goes on")
    assert "has not answered for 10 s" in gateway.said()


def test_a_master_that_is_killed_leaves_its_streams_and_the_next_one_takes_its_place(gateway):
    process = gateway.start()
    orphans = gateway.workers()

    async def run() -> None:
        async with streaming(gateway) as (script, rest):
            process.kill()
            process.wait()
            await eventually_async(lambda: not gateway.connects(), what="nobody listens")
            told = gateway.daemon.reports = []
            await asyncio.to_thread(gateway.start)
            await eventually_async(lambda: told, what="the next one tells")
            assert {report.seen for report in told} == {-1}, "nothing may be stopped that the first may be using"
            answer = await rest()
        assert whole(answer, script)

    asyncio.run(run())
    eventually(lambda: not any(map(alive, orphans)), within=LATEST, what="the old workers have ended")
    eventually(lambda: gateway.daemon.reports[-1].seen == gateway.table.seq, what="and what ends may be stopped")


def test_what_it_cannot_see_of_a_gateway_before_is_told_and_nothing_may_be_stopped_for_it(gateway):
    (gateway.state / "gateway" / "orphans").mkdir(parents=True)
    gateway.start()
    eventually(lambda: gateway.daemon.reports, what="it tells")
    told = gateway.daemon.reports[-1]
    assert (told.seen, [one.partition(": ")[0] for one in told.problems]) == (
        -1, ["cannot see whether workers of a gateway before go on"],
    )  # fmt: skip


def test_told_to_end_it_finishes_what_it_has_begun_and_takes_nothing_more(gateway):
    process = gateway.start()

    async def run() -> None:
        async with streaming(gateway) as (script, rest):
            process.terminate()
            await eventually_async(lambda: not gateway.connects(), what="nobody listens")
            answer = await rest()
        assert whole(answer, script)

    asyncio.run(run())
    assert process.wait(LATEST) == 0
    assert "Traceback" not in gateway.said()
    assert (gateway.daemon.reports[-1].seen, gateway.daemon.reports[-1].models) == (ENDED, {}), "nobody waits for it"


def test_told_twice_it_cuts(gateway):
    process = gateway.start()
    workers = gateway.workers()

    async def run() -> None:
        async with streaming(gateway) as (_, rest):
            process.terminate()
            await eventually_async(lambda: not gateway.connects(), what="nobody listens")
            process.terminate()
            await eventually_async(lambda: not gateway.engine.working, what="it was cut")
            answer = await rest()
        assert b"error" in answer.events[-1]
        assert b"[DONE]" not in answer.body

    asyncio.run(run())
    assert process.wait(LATEST) == 0
    assert not any(map(alive, workers))


def test_addresses_and_workers_follow_the_table_without_a_connection_being_touched(gateway):
    gateway.start()
    second = gateway.port + 1

    async def run() -> None:
        async with await Raw.open(gateway.port) as raw:
            assert (await raw.ask(chat())).status == 200
            listen = tuple(f"http://127.0.0.1:{port}" for port in (gateway.port, second))
            gateway.tell(listen=listen)
            await eventually_async(lambda: gateway.connects(second), what="the second address")
            assert (await once(second, chat())).status == 200
            gateway.tell(listen=listen[:1])
            await eventually_async(lambda: not gateway.connects(second), what="it is closed")
            gateway.tell(workers=1)
            await eventually_async(lambda: len([*filter(gateway.accepts, gateway.workers())]) == 1, what="one listens")
            assert (await once(gateway.port, chat())).status == 200
            assert (await raw.ask(chat())).status == 200, "the same connection, from first to last"

    asyncio.run(run())


def test_more_and_fewer_workers_under_load_fail_no_request(gateway):
    gateway.start()

    def change() -> None:
        for workers in (1, 3, 2):
            gateway.tell(workers=workers)
            eventually(lambda: len([*filter(gateway.accepts, gateway.workers())]) == gateway.table.front.workers)

    assert under_load(gateway, change).failed == []


def test_others_are_let_in_only_once_there_are_keys(gateway):
    gateway.tell(listen=(f"http://127.0.0.1:{gateway.port}", f"http://0.0.0.0:{gateway.port + 1}"))
    gateway.start()
    assert not gateway.connects(gateway.port + 1)
    assert f"cannot listen at http://0.0.0.0:{gateway.port + 1}: others reach it" in gateway.said()
    gateway.tell(grants=(Grant(name="team", keys=()),))
    eventually(lambda: gateway.connects(gateway.port + 1), what="with keys it is open")
    gateway.tell(grants=())
    eventually(lambda: not gateway.connects(gateway.port + 1), what="without them it is not")


def test_an_address_that_is_taken_is_told_and_had_once_it_is_free(gateway):
    with socket.create_server(("127.0.0.1", gateway.port)):
        gateway.start(answers=False)
        eventually(lambda: "cannot listen at" in gateway.said(), within=LATEST, what="it says so")
        assert f"http://127.0.0.1:{gateway.port}: pid {os.getpid()} (" in gateway.said()
        assert gateway.listening()["open"] == []
    eventually(gateway.well, within=LATEST, what="it listens")
    assert gateway.listening() == {"pid": gateway.pid, "open": [f"http://127.0.0.1:{gateway.port}"], "problems": []}


def test_without_its_daemon_it_goes_on_by_the_last_table_and_begins_with_it(gateway):
    gateway.start()
    gateway.daemon.close()
    assert gateway.well()
    assert gateway.process is not None
    gateway.process.terminate()
    assert gateway.process.wait(LATEST) == 0
    assert (gateway.state / "gateway" / "table.json").stat().st_mode & 0o777 == 0o600
    gateway.start()
    assert "cannot reach the daemon" in gateway.said()
    gateway.daemon.open()
    gateway.tell(models={})
    eventually(lambda: asyncio.run(once(gateway.port, chat())).status == 404, what="it goes by the new table")


def test_the_daemon_is_told_what_clients_want_and_which_table_all_go_by(gateway):
    gateway.engine.script = "sse events=1000 pause=0.05"
    absent = Served(name="big", names=("big",), engine="vllm", source="x", outlook="absent")
    gateway.tell(models={**gateway.table.models, "big": absent})
    gateway.start(answers=False)
    eventually(gateway.connects, what="it listens")

    async def run() -> None:
        async with await Raw.open(gateway.port) as one, await Raw.open(gateway.port) as two:
            streaming = asyncio.create_task(one.ask(chat(stream=True)))
            waiting = asyncio.create_task(two.ask(chat("big")))

            def told() -> bool:
                found = gateway.daemon.reports[-1].models if gateway.daemon.reports else {}
                return (
                    "chat" in found
                    and dict(found["chat"].in_flight) == {"chat/0": 1}
                    and "big" in found
                    and found["big"].waiting == 1
                )

            await eventually_async(told, what="the daemon knows")
            for task in (streaming, waiting):
                task.cancel()
        last = gateway.daemon.reports[-1]
        assert (last.gateway, last.epoch) == (str(gateway.state), "e")
        table = gateway.tell()
        await eventually_async(lambda: gateway.daemon.reports[-1].seen == table.seq, what="all go by the new table")
        await eventually_async(
            lambda: not any(one.in_flight or one.waiting for one in gateway.daemon.reports[-1].models.values()),
            what="nobody wants anything any more",
        )

    asyncio.run(run())


def test_a_worker_that_hangs_holds_back_which_table_all_go_by(gateway):
    gateway.start()
    hung = gateway.workers()[0]
    os.kill(hung, signal.SIGSTOP)
    before = gateway.table.seq
    table = gateway.tell()
    sent = len(gateway.daemon.reports)
    eventually(lambda: len(gateway.daemon.reports) > sent + 1, what="it reports")
    assert gateway.daemon.reports[-1].seen == before
    os.kill(hung, signal.SIGCONT)
    eventually(lambda: gateway.daemon.reports[-1].seen == table.seq, what="all go by it")


def test_metrics_are_of_all_workers_and_outlive_them(gateway):
    gateway.start()

    def total() -> int:
        text = asyncio.run(once(gateway.port, request("GET", "/metrics"))).body.decode()
        rows = [row for row in text.splitlines() if row.startswith("holdfast_gateway_requests_total{")]
        return sum(int(row.split()[-1]) for row in rows if 'model="chat"' in row)

    before = total()
    for _ in range(20):
        assert gateway.well()
    assert total() == before + 20
    gateway.reload()
    eventually(lambda: len(gateway.workers()) == 2, within=LATEST, what="the old ones have ended")
    assert total() == before + 20


def test_a_second_gateway_of_the_same_state_says_who_is_there_and_ends(gateway):
    gateway.start()
    second = subprocess.run(gateway.argv(), capture_output=True, text=True, timeout=LATEST, check=False)
    assert second.returncode == 1
    assert second.stderr.startswith(f"holdfast: cannot start: a gateway (pid {gateway.pid}) is at work")
    assert gateway.well()


def test_a_certificate_is_renewed_while_a_connection_streams(gateway, tmp_path):
    pair = make(tmp_path / "tls", "first")
    there = Path(pair.certificate)
    site = Site(name="one", hosts=("gateway",), tls=pair)
    gateway.tell(listen=(f"https://127.0.0.1:{gateway.port}",), sites=(site,))
    gateway.start(answers=False)
    eventually(gateway.connects, what="it listens")

    async def shown() -> str:
        async with await Raw.open(gateway.port, tls=client(), name="gateway") as raw:
            tls = raw.writer.get_extra_info("ssl_object")
            return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True))

    async def run() -> None:
        async with streaming(gateway, tls=client(), name="gateway") as (script, rest):
            assert await shown() == there.read_text()
            second = await asyncio.to_thread(make, tmp_path / "tls", "second")
            os.replace(second.key, pair.key)
            os.replace(second.certificate, there)
            while {await shown() for _ in range(8)} != {there.read_text()}:  # each worker looks at its own time
                await asyncio.sleep(0.05)
            assert gateway.engine.working == 1
            with pytest.raises((ssl.SSLError, ConnectionResetError)):  # uvloop does not send the alert
                await Raw.open(gateway.port, tls=client(), name="other.example")
            answer = await rest()
        assert whole(answer, script)

    asyncio.run(run())


def test_an_engine_that_others_keep_busy_gets_nothing_while_another_is_idle(gateway):
    def says(waiting: int) -> list[ReplicaMetrics]:
        return [ReplicaMetrics(slot="chat/0", engine="vllm", metrics=Metrics(running=waiting, waiting=waiting))]

    with upstream() as idle:
        chat_model = gateway.table.models["chat"]
        second = Place(slot="chat/1", run=1, address=idle.address, names=("chat",))
        gateway.daemon.metrics = says(50)
        gateway.tell(models={"chat": replace(chat_model, places=(*chat_model.places, second))})
        gateway.start()

        def asked_in_a_row() -> tuple[int, int]:
            before = len(gateway.engine.seen), len(idle.seen)
            for _ in range(6):
                assert asyncio.run(once(gateway.port, chat())).status == 200
            return len(gateway.engine.seen) - before[0], len(idle.seen) - before[1]

        eventually(lambda: asked_in_a_row() == (0, 6), what="the busy one gets nothing")
        gateway.daemon.metrics = says(0)
        eventually(lambda: asked_in_a_row() == (3, 3), what="both get their part again")
