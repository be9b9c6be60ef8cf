"""What the clients of several workers want, as one; and when the daemon is told."""

import asyncio

from reconciler.gateway import demand
from reconciler.gateway.demand import Pace, aged, begins, seen
from reconciler.model.routing import ENDED, Table, Wanted
from tests.eventually import eventually_async
from tests.gateway.on_loop import on_loop


def test_who_waits_grows_older_while_a_worker_says_nothing():
    wants = {"a": Wanted(waiting=1, oldest=3.0), "b": Wanted(in_flight={"b/0": 1})}
    assert aged(wants, 2.0) == {"a": Wanted(waiting=1, oldest=5.0), "b": wants["b"]}


def test_only_the_first_that_waits_for_a_model_is_urgent():
    none, one, two = {}, {"a": Wanted(waiting=1)}, {"a": Wanted(waiting=2)}
    assert begins(none, one)
    assert begins({"a": Wanted()}, one)
    assert not begins(one, two)
    assert not begins(two, none)
    assert begins(two, {**two, "b": Wanted(waiting=1)})


def test_the_table_that_all_go_by_is_the_oldest_of_any():
    table = Table(seq=7, epoch="e")
    assert seen(table, [("e", 7), ("e", 5), ("e", 6)]) == 5
    assert seen(table, [("e", 7), ("d", 9)]) == -1, "of another daemon: nothing is known"
    assert seen(table, []) == 7
    assert seen(table, [], ended=True) == ENDED
    assert seen(table, [("e", 6)], ended=True) == 6, "one goes on"


class Hand:
    """A clock that is moved by hand; reports take no time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[float] = []

    async def send(self) -> None:
        self.sent.append(self.now)


@on_loop
async def test_a_first_that_waits_is_told_at_once_and_what_else_changes_in_turn():
    hand = Hand()
    pace = Pace(lambda: hand.now)
    running = asyncio.create_task(pace.run(hand.send))
    pace.changed()
    await eventually_async(lambda: len(hand.sent) == 1)
    # its clock stands still: what changes now would be sent after `LEAST`, the urgent is not
    pace.changed(urgent=True)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await eventually_async(lambda: len(hand.sent) == 2)
    pace.changed()
    await eventually_async(lambda: len(hand.sent) == 3)
    assert loop.time() - began >= 0.09, "not more often than every tenth of a second"
    running.cancel()


@on_loop
async def test_a_sign_of_life_is_given_where_nothing_changes(monkeypatch):
    monkeypatch.setattr(demand, "HEARTBEAT", 0.1)
    hand = Hand()
    running = asyncio.create_task(Pace(lambda: hand.now).run(hand.send))
    await eventually_async(lambda: len(hand.sent) == 2)
    running.cancel()
