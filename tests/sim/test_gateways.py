"""What gateways are told and tell: tables, the demand of all of them, who has lapsed, and who may be let go."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.desk import keep, read_kept
from reconciler.gateways import FOUND, HOLD, SOON, Gateways
from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.observation import NOBODY, Observation, Unknown, Wish
from reconciler.model.routing import ENDED, LAPSE, Report, Traffic, Wanted
from reconciler.model.status import GatewayStatus, Status
from reconciler.plan.happenings import Happening
from reconciler.plan.summary import Pass, summarise
from tests.plan.world import NOW, decide, fleet, instance, machine
from tests.sim.machine import Machine, simulate
from tests.sim.router import Router, Site

CHAT = "kind: Model\nname: chat\nsource: file:/a.gguf\nengine: llamacpp\ngpus: 0\nreplicas: 3\n"
LAW = "adapters: [{name: law, source: 'file:/law'}]\n"
VARIES = CHAT.replace("replicas: 3", "replicas: {min: 0, max: 3}")


def status(of: Fleet, on: Observation, memory: Memory) -> Status:
    return summarise(
        Pass(fleet=of, observation=on, demand={}, plan=decide(of, on, memory=memory), now=NOW), memory
    ).status


class Desk:
    """Gateways, and what came of them."""

    def __init__(self, text: str = CHAT) -> None:
        self.woken = 0
        self.told: list[Happening] = []
        now = asyncio.get_running_loop().time()
        self.gateways = Gateways(today=lambda: 5.0, wake=self._wake, tell=self.told.append, began=now)
        self.of = fleet(text)
        self.on = machine(*(instance(self.of, f"chat/{index}", port=9000 + index) for index in range(2)))
        self.look()

    def _wake(self) -> None:
        self.woken += 1

    def look(self, *draining: str, on: Observation | None = None) -> None:
        memory = Memory(draining=dict.fromkeys(draining, NOW))
        self.gateways.look(self.of, on or self.on, status(self.of, on or self.on, memory))

    async def table(self) -> tuple[int, str]:
        table = await self.gateways.next_table(0)
        return table.seq, table.epoch

    async def report(self, name: str = "g", *, seen: int | None = None, **models: Wanted) -> None:
        seq, epoch = await self.table()
        self.gateways.report(Report(gateway=name, seen=seq if seen is None else seen, epoch=epoch, models=models))

    def wakes(self) -> int:
        """How often it woke since this was asked last."""
        woken, self.woken = self.woken, 0
        return woken


def test_a_table_has_a_new_number_only_when_it_says_something_new() -> None:
    async def story() -> None:
        desk = Desk()
        assert (await desk.table())[0] == 1
        desk.look()
        assert (await desk.table())[0] == 1
        waiting = asyncio.create_task(desk.gateways.next_table(1))
        desk.look("chat/1")
        table = await waiting
        assert table.seq == 2
        assert [place.draining for place in table.models["chat"].places] == [False, True]

    simulate(story())


def test_each_daemon_numbers_tables_for_itself() -> None:
    async def story() -> None:
        assert (await Desk().table())[1] != (await Desk().table())[1]

    simulate(story())


def test_where_nothing_can_be_seen_the_table_stays() -> None:
    async def story() -> None:
        desk = Desk()
        desk.look(on=replace(desk.on, instances=Unknown(reason="no answer")))
        assert (await desk.table())[0] == 1

    simulate(story())


@pytest.mark.parametrize("seen", [True, False])
def test_the_first_table_waits_a_moment_for_what_is_not_seen_yet(seen: bool) -> None:
    async def story() -> None:
        now = asyncio.get_running_loop().time()
        gateways = Gateways(today=lambda: 5.0, wake=look, tell=lambda _: None, began=now)
        found.append(gateways)
        look()
        first = asyncio.create_task(gateways.next_table(0))
        await asyncio.sleep(HOLD / 2)
        assert not first.done()
        if seen:
            look(of_all=True)
            assert len((await first).models["chat"].places) == 1
        else:
            assert (await first).models["chat"].outlook == "blocked"
            assert asyncio.get_running_loop().time() == pytest.approx(HOLD)

    found: list[Gateways] = []
    of = fleet(CHAT.replace("3", "1"))

    def look(*, of_all: bool = False) -> None:
        phase = None if of_all else Unknown(reason="not asked yet")
        on = machine(instance(of, "chat/0", phase, port=9000))
        found[0].look(of, on, status(of, on, Memory()))

    simulate(story())


@pytest.mark.parametrize("come", [0, 1, 2])
def test_where_the_daemon_before_had_gateways_nothing_is_let_go_until_all_had_time_to_come(come: int) -> None:
    """How many there were is not known: the first that comes says nothing of another."""

    async def story() -> None:
        desk = Desk()
        desk.gateways.inherit(frozenset())
        desk.look("chat/1")
        for name in ("a", "b")[:come]:
            await desk.report(name, seen=2, chat=Wanted(in_flight={"chat/0": 1}))
        assert desk.gateways.demand(["chat/1"])["chat"].busy("chat/1")
        assert desk.gateways.demand(["chat/1"])["chat"].busy("chat/0") == (come > 0)
        desk.wakes()
        await asyncio.sleep(FOUND + 0.1)
        assert desk.wakes() == 1
        now = {"chat": Wish(in_flight={"chat/0": come})} if come else {}
        assert desk.gateways.demand(["chat/1"]) == now

    simulate(story())


@pytest.mark.parametrize("way", ["tells", "ends"])
def test_those_that_the_daemon_before_knew_are_waited_for_and_nobody_else(way: str) -> None:
    async def story() -> None:
        desk = Desk()
        desk.gateways.inherit(frozenset({"a", "b"}))
        desk.look("chat/1")
        await asyncio.sleep(1.0)
        for name in ("a", "c"):
            await desk.report(name, seen=2)
            assert desk.gateways.demand(["chat/1"])["chat"].busy("chat/1"), "b has not come"
        desk.wakes()
        await desk.report("b", seen=2 if way == "tells" else ENDED)
        assert (desk.gateways.demand(["chat/1"]), desk.wakes()) == ({NOBODY: Wish()}, 1)
        await asyncio.sleep(FOUND)
        assert desk.gateways.known == {"a", "b", "c"}, "one that has ended may be back when the next daemon comes"

    simulate(story())


def test_one_that_does_not_come_is_given_up_and_waited_for_by_no_later_daemon() -> None:
    async def story() -> None:
        desk = Desk()
        desk.gateways.inherit(frozenset({"a", "b"}))
        desk.look("chat/1")
        await desk.report("a", seen=2)
        await asyncio.sleep(FOUND - 0.1)
        assert (desk.gateways.demand(["chat/1"])["chat"].busy("chat/1"), desk.gateways.known) == (True, {"a", "b"})
        await asyncio.sleep(0.2)
        assert (desk.gateways.demand(["chat/1"]), desk.gateways.known) == ({NOBODY: Wish()}, {"a"})

    simulate(story())


def test_which_gateways_there_are_is_written_down_for_the_next_daemon(tmp_path: Path) -> None:
    async def story() -> None:
        site = Site(fleet=fleet(CHAT), machine=Machine())
        routers = [Router(gateways=site.gateways, machine=site.machine, name=name) for name in ("one", "two")]
        tasks = [asyncio.create_task(router.listen()) for router in routers]
        await asyncio.sleep(10.0)
        keep(str(tmp_path / "memory.json"), site.kept[-1])
        for task in (*tasks, site.task):
            task.cancel()

    simulate(story())
    found = read_kept(str(tmp_path / "memory.json"))
    assert (found.routed, found.gateways) == (True, {"one", "two"})


def test_of_too_many_gateways_it_is_not_known_how_many_there_are() -> None:
    async def story() -> None:
        desk = Desk()
        for number in range(40):
            await desk.report(f"gateway {number}")
            assert len(desk.gateways.known) == (number + 1 if number < 16 else 0)

    simulate(story())


def test_nobody_tells_and_nobody_wants_are_two_things() -> None:
    async def story() -> None:
        desk = Desk()
        assert desk.gateways.demand(()) == {}
        await desk.report()
        assert desk.gateways.demand(()) == {NOBODY: Wish()}

    simulate(story())


def test_demand_is_that_of_all_gateways_of_models_of_the_fleet() -> None:
    async def story() -> None:
        desk = Desk()
        await asyncio.sleep(100.0)
        await desk.report("a", chat=Wanted(waiting=2, oldest=5.0, in_flight={"chat/0": 1, "chat/1": 0}))
        await asyncio.sleep(1.0)
        await desk.report("b", chat=Wanted(waiting=1, oldest=0.5, in_flight={"chat/0": 2}), foreign=Wanted(waiting=9))
        [(name, wish)] = desk.gateways.demand(()).items()
        assert (name, wish.waiting, wish.in_flight, wish.since) == ("chat", 3, {"chat/0": 3}, pytest.approx(95.0))

    simulate(story())


def test_what_gateways_cannot_do_is_in_the_status() -> None:
    async def story() -> None:
        desk = Desk()
        for name, problems in (("g", ("taken", "bare")), ("h", ("taken",))):
            desk.gateways.report(Report(gateway=name, problems=problems))
        assert desk.gateways.status().problems == ("bare", "taken")
        desk.gateways.report(Report(gateway="g"))
        assert desk.gateways.status().problems == ("taken",)

    simulate(story())


def test_a_gateway_that_is_silent_has_lapsed_and_both_are_told() -> None:
    async def story() -> None:
        desk = Desk()
        assert desk.gateways.status() == GatewayStatus(connected=False, listen=("http://127.0.0.1:8642",))
        await desk.report(chat=Wanted(waiting=1))
        await asyncio.sleep(LAPSE - 1)
        await desk.report(chat=Wanted(waiting=1))
        await asyncio.sleep(LAPSE - 1)
        assert desk.gateways.demand(()) != {}
        assert desk.gateways.status().connected
        assert [one.message for one in desk.told] == ["the gateway is connected"]
        desk.wakes()
        await asyncio.sleep(2)
        assert desk.gateways.demand(()) == {NOBODY: Wish()}, "what waited is not known any more"
        assert (desk.gateways.status().connected, desk.gateways.traffic(), desk.wakes()) == (False, {}, 1)
        assert desk.told[1].message.startswith("the gateway is gone: not a word of it for 10 s")

    simulate(story())


def test_the_planner_hears_at_once_of_what_matters_and_soon_of_the_rest() -> None:
    async def story() -> None:
        desk = Desk(VARIES)
        await desk.report()
        assert desk.wakes() == 1, "somebody tells"
        await desk.report()
        assert desk.wakes() == 0
        await desk.report(chat=Wanted(waiting=1, oldest=1.0))
        assert desk.wakes() == 1, "somebody waits"
        await desk.report(chat=Wanted(waiting=1, oldest=2.0))
        assert desk.wakes() == 0, "and waits on"
        await desk.report(chat=Wanted(in_flight={"chat/0": 1}))
        assert desk.wakes() == 1, "it is served"
        await desk.report(chat=Wanted(in_flight={"chat/0": 2}))
        await desk.report(chat=Wanted(in_flight={"chat/0": 3}))
        assert desk.wakes() == 0
        await asyncio.sleep(SOON)
        assert desk.wakes() == 1, "there is more to do"
        await desk.report()
        assert desk.wakes() == 1, "all is done"

    simulate(story())


def test_load_of_a_model_that_always_runs_wakes_nobody() -> None:
    async def story() -> None:
        desk = Desk()
        await desk.report()
        desk.wakes()
        for count in (1, 2, 0):
            await desk.report(chat=Wanted(waiting=count, in_flight={"chat/0": count}))
        await asyncio.sleep(SOON)
        assert desk.wakes() == 0

    simulate(story())


def test_a_slot_is_busy_until_every_gateway_goes_by_a_table_in_which_it_drains() -> None:
    async def story() -> None:
        desk = Desk()
        await desk.report("a")
        await desk.report("b")
        busy = {"chat": Wish(exposed=frozenset({"chat/1"}))}
        assert desk.gateways.demand(["chat/1"]) == busy, "no table says it yet"
        desk.look("chat/1")
        assert desk.gateways.demand(["chat/1"]) == busy, "nobody has read it yet"
        desk.wakes()
        await desk.report("a")
        assert (desk.gateways.demand(["chat/1"]), desk.wakes()) == (busy, 0)
        await desk.report("b")
        assert (desk.gateways.demand(["chat/1"]), desk.wakes()) == ({NOBODY: Wish()}, 1)
        await desk.report("b", chat=Wanted(in_flight={"chat/1": 1}))
        works = {"chat": Wish(in_flight={"chat/1": 1})}
        assert (desk.gateways.demand(["chat/1"]), desk.wakes()) == (works, 1)

    simulate(story())


def test_a_name_is_dropped_once_every_gateway_goes_by_a_table_without_it() -> None:
    async def story() -> None:
        desk = Desk(VARIES.replace("llamacpp", "vllm").replace("a.gguf", "a") + LAW)
        await desk.report("a")
        await desk.report("b")
        dropping = asyncio.create_task(desk.gateways.dropped("chat/1", "law"))
        await asyncio.sleep(0.1)
        desk.of = fleet(VARIES.replace("llamacpp", "vllm").replace("a.gguf", "a"))
        desk.look()
        await asyncio.sleep(0.1)
        await desk.report("a")
        await asyncio.sleep(0.1)
        assert not dropping.done()
        await desk.report("b")
        await asyncio.sleep(0.1)
        assert dropping.done()
        assert (await desk.gateways.dropped("chat/1", "law")) is None, "it was never there"

    simulate(story())


def test_who_never_goes_by_it_is_not_waited_for_without_end() -> None:
    async def story() -> None:
        desk = Desk()
        dropping = asyncio.create_task(desk.gateways.dropped("chat/1", "chat"))
        await asyncio.sleep(LAPSE - 1)
        assert not dropping.done()
        await asyncio.sleep(2)
        assert dropping.done()

    simulate(story())


@pytest.mark.parametrize("seen", [None, -1], ids=["silent", "of a master before"])
def test_what_may_be_served_unheard_is_told_of_models_on_demand_that_are_there(seen: int | None) -> None:
    async def story() -> None:
        desk = Desk(VARIES + "---\n" + CHAT.replace("chat", "fixed") + "---\n" + VARIES.replace("chat", "away"))
        await desk.report(chat=Wanted(in_flight={"chat/0": 1}))
        assert desk.gateways.demand(()) == {"chat": Wish(in_flight={"chat/0": 1})}
        if seen is None:
            await asyncio.sleep(LAPSE + 1)
        else:
            await desk.report(seen=seen, chat=Wanted(in_flight={"chat/0": 1}))
        assert desk.gateways.demand(()) == {"chat": Wish(in_flight={"chat/0": 1}, unheard=True)}
        desk.wakes()
        await desk.report()
        assert (desk.gateways.demand(()), desk.wakes()) == ({NOBODY: Wish()}, 1)

    simulate(story())


@pytest.mark.parametrize("alone", [True, False])
def test_what_a_silent_gateway_may_be_using_is_in_use_until_its_workers_must_have_ended(alone: bool) -> None:
    """Its master may hang, or be dead, while its workers serve on, by the table that they have."""

    async def story() -> None:
        desk = Desk()
        drain = (await desk.gateways.next_table(0)).front.drain
        await desk.report("a", chat=Wanted(waiting=3, in_flight={"chat/0": 1, "chat/1": 0}))
        desk.look("chat/1")
        end = asyncio.get_running_loop().time() + LAPSE + drain
        while (left := end - asyncio.get_running_loop().time()) > 1.0:
            if not alone:
                await desk.report("b")
            wish = desk.gateways.demand(["chat/1"])["chat"]
            assert (dict(wish.in_flight), wish.exposed) == ({"chat/0": 1}, {"chat/1"})
            await asyncio.sleep(min(LAPSE / 2, left - 0.5))
        desk.wakes()
        await asyncio.sleep(1.0)
        assert desk.gateways.demand(["chat/1"]) == ({} if alone else {NOBODY: Wish()})
        assert desk.wakes() == 1

    simulate(story())


def test_a_silent_gateway_that_is_heard_again_is_believed_again_and_not_forgotten_by_its_first_silence() -> None:
    async def story() -> None:
        desk = Desk()
        drain = (await desk.gateways.next_table(0)).front.drain
        await desk.report()
        await asyncio.sleep(LAPSE + drain / 2)
        desk.look("chat/1")
        assert desk.gateways.demand(["chat/1"]) == {"chat": Wish(exposed=frozenset({"chat/1"}))}
        await desk.report()
        assert desk.gateways.demand(["chat/1"]) == {NOBODY: Wish()}
        desk.look()
        await asyncio.sleep(LAPSE + drain / 2 + 1)
        desk.look("chat/1")
        assert desk.gateways.demand(["chat/1"]) == {"chat": Wish(exposed=frozenset({"chat/1"}))}
        words = [one.message.partition(":")[0] for one in desk.told]
        assert words == ["the gateway is connected", "the gateway is gone"] * 2

    simulate(story())


@pytest.mark.parametrize("silent", [True, False])
def test_a_gateway_that_says_that_it_has_ended_is_not_waited_for(silent: bool) -> None:
    async def story() -> None:
        desk = Desk()
        await desk.report(chat=Wanted(in_flight={"chat/0": 1}))
        desk.look("chat/1")
        await asyncio.sleep(LAPSE + 1 if silent else 1.0)
        assert desk.gateways.demand(["chat/1"])["chat"].busy("chat/1")
        desk.wakes()
        await desk.report(seen=ENDED)
        assert (desk.gateways.demand(["chat/1"]), desk.gateways.status().connected, desk.wakes()) == ({}, False, 1)
        told = len(desk.told)
        assert desk.told[-1].message.partition(":")[0] == ("the gateway is gone" if silent else "the gateway has ended")
        await asyncio.sleep(2 * LAPSE)
        assert len(desk.told) == told, "it is not missed"

    simulate(story())


def test_who_goes_by_a_table_of_another_daemon_may_still_send_something() -> None:
    async def story() -> None:
        desk = Desk()
        desk.look("chat/1")
        desk.gateways.report(Report(gateway="g", seen=700, epoch="another"))
        assert desk.gateways.demand(["chat/1"]) == {"chat": Wish(exposed=frozenset({"chat/1"}))}
        await desk.report()
        assert desk.gateways.demand(["chat/1"]) == {NOBODY: Wish()}

    simulate(story())


def test_what_left_the_files_is_busy_as_long_as_it_is() -> None:
    async def story() -> None:
        desk = Desk()
        desk.of = fleet("")
        desk.look("chat/0")
        await desk.report(chat=Wanted(in_flight={"chat/0": 2}))
        assert desk.gateways.demand(["chat/0"]) == {"chat": Wish(in_flight={"chat/0": 2})}
        assert desk.gateways.demand([]) == {NOBODY: Wish()}

    simulate(story())


def test_traffic_is_that_of_all_gateways() -> None:
    async def story() -> None:
        desk = Desk()
        one = Traffic(requests=1.0, errors=0.5, tokens=10.0, first_byte=0.1, total=3)
        await desk.report("a", chat=Wanted(traffic=one))
        assert desk.gateways.traffic() == {"chat": Wanted(traffic=one)}
        await desk.report("b", chat=Wanted(traffic=Traffic(requests=3.0, tokens=5.0, first_byte=0.4, total=4)))
        both = Traffic(requests=4.0, errors=0.5, tokens=15.0, first_byte=pytest.approx(0.325), total=7)  # type: ignore[arg-type]
        assert desk.gateways.traffic() == {"chat": Wanted(traffic=both)}

    simulate(story())


@pytest.mark.parametrize("strategy", ["surge", "replace"])
@pytest.mark.parametrize(("service", "lag"), [(1.0, 0.02), (0.01, 0.5)], ids=["slow requests", "a slow router"])
def test_a_roll_out_under_constant_load_cuts_nobody_and_waits_for_nobody_else_s_requests(
    strategy: str, service: float, lag: float
) -> None:
    """Each replica goes as soon as its own requests are done, far sooner than `drain` allows."""

    async def story() -> None:
        text = CHAT + f"update: {{strategy: {strategy}, drain: 10m}}\n"
        site = Site(fleet=fleet(text), machine=Machine())
        router = Router(gateways=site.gateways, machine=site.machine, service=service, lag=lag)
        tasks = [asyncio.create_task(router.listen())]
        while len(router.places("chat")) < 3:
            await asyncio.sleep(0.1)
        tasks.append(asyncio.create_task(router.load("chat", 0.05)))
        await asyncio.sleep(5.0)
        before = {slot: process.pid for slot, process in site.machine.processes().items()}
        began = site.machine.now
        site.declare(fleet(text + "context: 4096\n"))
        while len(router.places("chat")) < 3 or set(before.values()) & {
            process.pid for process in site.machine.processes().values()
        }:
            assert site.machine.now < began + 60.0, site.loop.plan
            await asyncio.sleep(0.1)
        await asyncio.sleep(5.0)
        assert router.failed == []
        assert router.done > 200
        assert sorted(site.machine.processes()) == ["chat/0", "chat/1", "chat/2"]

    simulate(story())


def test_a_model_on_demand_goes_once_nobody_needs_it_and_every_router_knows() -> None:
    """That a router may still send something is no reason to keep it."""

    async def story() -> None:
        text = VARIES.replace("max: 3", "max: 3, idle: 5s")
        site = Site(fleet=fleet(text), machine=Machine())
        router = Router(gateways=site.gateways, machine=site.machine, lag=0.2)
        listening = asyncio.create_task(router.listen())
        await asyncio.sleep(1.0)
        router.waiting["chat"] = 1
        router.report()
        while not router.places("chat"):
            await asyncio.sleep(0.1)
        router.waiting.clear()
        router.ask("chat")
        await asyncio.sleep(20.0)
        assert (router.done, router.failed, site.machine.processes()) == (1, [], {})
        assert [action for action, _ in site.machine.stops] == ["chat/0"]
        listening.cancel()

    simulate(story())


def test_a_model_on_demand_stays_while_a_gateway_that_may_serve_it_hangs() -> None:
    """Its workers serve on. Nobody hears of it, so nobody can know that the model idles."""

    async def story() -> None:
        site = Site(fleet=fleet(VARIES.replace("max: 3", "max: 3, idle: 30s")), machine=Machine())
        router = Router(gateways=site.gateways, machine=site.machine, service=0.5)
        tasks = [asyncio.create_task(router.listen())]
        await asyncio.sleep(1.0)
        router.waiting["chat"] = 1
        router.report()
        while not router.places("chat"):
            await asyncio.sleep(0.1)
        router.waiting.clear()
        router.report()
        router.hangs = True
        tasks.append(asyncio.create_task(router.load("chat", 5.0)))
        await asyncio.sleep(300.0)
        assert (router.failed, site.machine.stops, router.done) == ([], [], 60)
        tasks.pop().cancel()
        router.hangs = False
        await asyncio.sleep(25.0)
        assert list(site.machine.processes()) == ["chat/0"], "its idle time begins when it is heard of again"
        await asyncio.sleep(20.0)
        assert site.machine.processes() == {}
        tasks.pop().cancel()

    simulate(story())


def test_a_model_that_leaves_the_files_finishes_what_it_has_begun() -> None:
    async def story() -> None:
        site = Site(fleet=fleet(CHAT), machine=Machine())
        router = Router(gateways=site.gateways, machine=site.machine, service=30.0)
        listening = asyncio.create_task(router.listen())
        while len(router.places("chat")) < 3:
            await asyncio.sleep(0.1)
        for _ in range(6):
            router.ask("chat")
        site.declare(fleet(""))
        await asyncio.sleep(10.0)
        assert (router.places("chat"), len(site.machine.processes())) == ([], 3)
        await asyncio.sleep(30.0)
        assert (router.done, router.failed, len(site.machine.processes())) == (6, [], 0)
        assert "chat" not in router.table.models
        listening.cancel()

    simulate(story())
