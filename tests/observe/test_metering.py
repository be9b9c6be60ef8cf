"""Engines asked for their metrics, on real ports."""

from reconciler.model.metrics import Metrics, ReplicaMetrics
from reconciler.model.observation import Asleep, Running
from reconciler.observe import metering
from tests.observe.sights import launch, running
from tests.observe.watching import HERE, engine, ready, response, scenario
from tests.plan.world import fleet


def said(text: str) -> bytes:
    return response("200 OK", text.encode(), "Content-Type: text/plain")


@scenario
async def test_all_that_are_ready_are_asked_and_the_others_say_why_they_are_not():
    async with engine() as server:
        server.by_path["/metrics"] = said("# x\n" * 40_000 + "llamacpp:requests_processing 2\n")
        asleep = Running(pid=HERE, since=1.0, readiness=Asleep(since=2.0), was_ready=True)
        up, loads = ready(port=server.port), running(slot="n/0", pid=HERE, port=server.port)
        sleeps = type(up)(slot="o/0", launch=launch("o/0", port=server.port), phase=asleep)
        found = await metering.ask([(one, None) for one in (up, loads, sleeps)])
        assert found == (
            ReplicaMetrics(slot="m/0", engine="llamacpp", metrics=Metrics(running=2)),
            ReplicaMetrics(slot="n/0", engine="llamacpp", detail="it is not ready"),
            ReplicaMetrics(slot="o/0", engine="llamacpp", detail="it sleeps"),
        )
        assert server.times("/metrics") == 1


@scenario
async def test_one_that_refuses_says_so_in_its_words():
    async with engine() as server:
        server.by_path["/metrics"] = response("501 Not Implemented")
        [found] = await metering.ask([(ready(port=server.port), None)])
        assert (found.metrics, found.detail) == (None, "/metrics got 501 Not Implemented")


OWN = "kind: Engine\nname: own\ncommand: [x]\n{}---\nkind: Model\nname: m\nsource: hf:a/b\nengine: own\n"


@scenario
async def test_an_engine_without_code_is_read_by_the_names_that_its_file_gives():
    async with engine() as server:
        server.by_path["/mine"] = said('my_busy{gpu="0"} 1\nmy_busy{gpu="1"} 2\nmy_ttft_sum 3\nmy_ttft_count 2\n')
        instance = ready(port=server.port, engine="own")
        told = fleet(OWN.format("metrics: {path: /mine, running: my_busy, first_token: my_ttft}\n")).workloads["m"]
        [found] = await metering.ask([(instance, told)])
        assert found.metrics is not None
        assert (found.metrics.running, found.metrics.waiting) == (3, None)
        assert found.metrics.first_token is not None
        assert found.metrics.first_token.mean == 1.5
        [found] = await metering.ask([(instance, fleet(OWN.format("")).workloads["m"])])
        assert found.detail == "engine own has none that are known; name them in its kind: Engine"
