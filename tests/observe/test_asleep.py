"""Whether an engine sleeps, by a real server on a real port, asked by the real prober."""

import asyncio
import json
from dataclasses import replace

from reconciler.model.observation import Asleep, Failing, NotReady, Ready, Unknown
from reconciler.model.plan import Request, Sleeper
from tests.eventually import eventually_async
from tests.observe.sights import probe, running
from tests.observe.watching import HERE, engine, ready, response, scenario, watching

WORD = Request(path="/x", body={}, within=5.0)
SLEEPER = Sleeper(asleep="/is", key="sleeps", sleep=(WORD,), wake=(WORD,), holds=2**30)


def says(asleep: object) -> bytes:
    return response("200 OK", json.dumps({"sleeps": asleep}).encode(), "Content-Type: application/json")


def found(port: int, **more):
    """One that an earlier daemon knew to be ready."""
    return ready(port=port, sleeper=SLEEPER, probe=more.pop("probe", None) or probe(interval=0.02), **more)


@scenario
async def test_one_that_was_ready_when_it_is_found_is_neither_until_it_is_asked():
    """A daemon that died between putting it to sleep and seeing it left it on record as ready."""
    async with engine() as server:
        server.by_path["/is"] = says(True)
        with watching(found(server.port)) as seen:
            assert isinstance(seen.now(), Unknown)
            await seen.until(Asleep)
            assert [type(state) for state in seen.told] == [Asleep]


@scenario
async def test_one_that_is_found_awake_has_been_ready_since_it_was():
    async with engine() as server:
        server.by_path["/is"] = says(False)
        with watching(found(server.port)) as seen:
            assert await seen.until(Ready) == Ready(since=1.0, woken=True)


@scenario
async def test_one_that_cannot_be_asked_tells_it_by_a_mark_that_it_was_given():
    sleeper = replace(SLEEPER, value="asleep")
    async with engine() as server:
        server.by_path["/is"] = says("asleep")
        with watching(ready(port=server.port, sleeper=sleeper, probe=probe(interval=0.02))) as seen:
            await seen.until(Asleep)
            server.by_path["/is"] = says("default")
            assert (await seen.until(Ready)).woken


@scenario
async def test_a_word_of_another_type_tells_nothing():
    async with engine() as server:
        server.by_path["/is"] = says("true")
        with watching(found(server.port)) as seen:
            await eventually_async(lambda: server.times("/is") > 1)
            assert isinstance(seen.now(), Unknown | Failing)


@scenario
async def test_it_is_not_ready_before_it_is_known_to_be_awake():
    async with engine() as server:
        server.by_path["/is"] = None
        instance = running(pid=HERE, port=server.port, sleeper=SLEEPER, probe=probe(interval=0.02, timeout=0.05))
        with watching(instance) as seen:
            await eventually_async(lambda: server.times("/is") > 2)
            assert isinstance(seen.now(), NotReady)
            server.by_path["/is"] = says(False)
            state = await seen.until(Ready)
            assert not state.woken


@scenario
async def test_what_sleeps_is_not_asked_whether_it_is_healthy_and_gets_no_tiny_requests():
    async with engine() as server:
        server.by_path |= {"/is": says(True)}
        with watching(found(server.port, probe=probe(interval=0.02, inference=0.02))) as seen:
            await seen.until(Asleep)
            before = server.times("/health")
            server.by_path |= {"/health": response("500 x"), "/v1/completions": response("500 x")}
            await eventually_async(lambda: server.times("/is") > 10)
            assert server.times("/health") == before
            assert server.times("/v1/completions") == 0
            assert isinstance(seen.now(), Asleep)


@scenario
async def test_it_is_known_at_once_after_it_was_told():
    """Though the interval is long: what was promised is promised until then."""
    async with engine() as server:
        server.by_path["/is"] = says(False)
        with watching(found(server.port, probe=probe(interval=3600.0))) as seen:
            await seen.until(Ready)
            server.by_path["/is"] = says(True)
            await seen.prober.ask("m/0")
            assert isinstance(seen.now(), Asleep)
            server.by_path["/is"] = says(False)
            await seen.prober.ask("m/0")
            assert seen.now().woken
            await seen.prober.ask("x/0")


@scenario
async def test_where_there_is_no_answer_after_it_was_told_nothing_is_known():
    async with engine() as server:
        server.by_path["/is"] = says(False)
        with watching(found(server.port, probe=probe(interval=3600.0, timeout=0.05))) as seen:
            await seen.until(Ready)
            server.by_path["/is"] = None
            await seen.prober.ask("m/0")
            assert seen.now() == Unknown(reason="cannot tell whether it sleeps: no answer in 50ms")


@scenario
async def test_one_that_is_busy_and_known_to_be_awake_stays_ready():
    async with engine() as server:
        server.by_path["/is"] = says(False)
        with watching(found(server.port, probe=probe(interval=0.02, timeout=0.05))) as seen:
            await seen.until(Ready)
            server.by_path["/is"] = None
            before = server.times("/is")
            await eventually_async(lambda: server.times("/is") > before + 3)
            assert isinstance(seen.now(), Ready)


@scenario
async def test_one_that_sleeps_and_answers_no_more_is_unknown_and_then_fails():
    """Not at its first silence: it may be falling asleep yet, or be waking. It never gets traffic on the way."""
    async with engine() as server:
        server.by_path["/is"] = says(True)
        with watching(found(server.port, probe=probe(interval=0.02, timeout=0.05, failures=3))) as seen:
            await seen.until(Asleep)
            server.by_path |= {"/is": None, "/health": response("503 x")}
            state = await seen.until(Failing)
            assert state.failures == 3
            assert [type(state) for state in seen.told][:2] == [Asleep, Unknown]
            assert not [state for state in seen.told if isinstance(state, Failing) and state.failures < 3]


@scenario
async def test_a_server_without_such_a_path_cannot_sleep():
    async with engine() as server:
        server.by_path["/is"] = response("404 Not Found")
        with watching(found(server.port)) as seen:
            await seen.until(Ready)


@scenario
async def test_an_answer_that_says_nothing_of_it_is_none():
    for answer in (response("200 OK", b"yes"), says("yes"), response("500 x"), response("200 OK", b"[]")):
        async with engine() as server:
            server.by_path["/is"] = answer
            with watching(found(server.port)) as seen:
                await eventually_async(lambda server=server: server.times("/is") > 2)
                assert isinstance(seen.now(), Unknown)


@scenario
async def test_whoever_waits_to_know_is_let_go_when_it_ends():
    async with engine() as server:
        server.by_path["/is"] = None
        with watching(found(server.port)) as seen:
            waiting = asyncio.create_task(seen.prober.ask("m/0"))
            await eventually_async(lambda: server.times("/is") > 0)
            seen.prober.end("m/0", 1)
            await waiting


@scenario
async def test_while_it_falls_asleep_or_wakes_it_is_asked_nothing():
    """It may say that it is awake as soon as it has begun to load."""
    async with engine() as server, engine() as other:
        server.by_path["/is"] = other.by_path["/is"] = says(True)
        with watching(found(server.port)) as seen:
            seen.prober.watch(found(other.port, slot="n/0"))
            await seen.until(Asleep)
            seen.prober.rest("m/0")
            server.by_path["/is"] = says(False)
            before, meanwhile = server.times("/is"), other.times("/is")
            await eventually_async(lambda: other.times("/is") > meanwhile + 5)
            assert server.times("/is") <= before + 1, "one may have been on its way"
            assert isinstance(seen.now(), Asleep)
            await seen.prober.ask("m/0")
            assert isinstance(seen.now(), Ready)


@scenario
async def test_one_that_has_never_served_is_not_woken_but_ready_for_the_first_time():
    async with engine() as server:
        server.by_path["/is"] = response("200 OK", b'{"sleeps": []}', "Content-Type: application/json")
        instance = running(pid=HERE, port=server.port, sleeper=SLEEPER, probe=probe(interval=0.02))
        with watching(instance) as seen:
            await seen.until(Asleep)
            assert seen.prober.readiness("m/0") == (seen.now(), False)
            server.by_path["/is"] = response("200 OK", b'{"sleeps": [{}]}', "Content-Type: application/json")
            assert not (await seen.until(Ready)).woken
