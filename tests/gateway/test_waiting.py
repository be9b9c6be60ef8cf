"""Requests that wait for a model: in order, with an end, each told why; one that was asked in vain keeps its turn."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from reconciler.gateway.errand import Errand
from reconciler.gateway.places import Directory, Entry
from reconciler.gateway.refusal import Refusal, unavailable
from reconciler.gateway.waiting import Waits
from reconciler.model.routing import Front, Place, Served, Table

ROW = {"place:chat/0#1": 0}


@dataclass(eq=False)
class Waiter:
    """The part of a request that waits, and what it was told."""

    name: str
    entry: Entry
    goal: str = field(default="chat", init=False)
    leaves: "Callable[[Waiter], None]"
    grant: Any = None
    turn: tuple[int, int] = (0, 0)
    waits_since: float = 0.0
    waited: float = 0.0
    over: bool = False
    told: list[str] = field(default_factory=list[str])
    tried: list[str] = field(default_factory=list[str])
    """Of all that may go on, the names."""

    def attempt(self) -> None:
        self.tried.append(self.name)
        self._end("attempt")

    def unavailable(self, entry: Entry, how: str) -> Refusal:
        return unavailable(entry.name, how, "", 5)

    def give_up(self, entry: Entry, refused: Refusal) -> None:
        self.leaves(self)
        self.refuse(refused)

    def refuse(self, refused: Refusal) -> None:
        self._end(refused.code)

    def _end(self, what: str) -> None:
        self.told.append(what)
        self.waits_since = 0.0

    def tell_waiting(self, _: Entry, now: float) -> None:
        self.told.append(f"waits at {now:g}")


class Room:
    """Queues, a clock that is set, and how often somebody was the first to wait."""

    def __init__(self, front: Front | None = None) -> None:
        self.at, self.arrived, self.front = 1000.0, 0, front or Front(wait=60.0)
        self.directory = Directory(lambda: self.at)
        self.waits = Waits(self.directory, lambda: self.at, self._arrived)
        self.tell()

    def _arrived(self) -> None:
        self.arrived += 1

    def tell(self, *, up: bool = False, blocked: bool = False, gone: bool = False) -> None:
        """What a newer table says of the model."""
        places = (Place(slot="chat/0", run=1, address="http://127.0.0.1:1", names=("chat",)),) if up else ()
        outlook = "blocked" if blocked else "ready" if up else "absent"
        model = Served(name="chat", names=("chat",), engine="vllm", source="s", outlook=outlook, places=places)
        self.directory.take(Table(models={} if gone else {"chat": model}, front=self.front), ROW)

    def come(self, name: str, priority: int | None = None) -> Waiter:
        entry = self.directory.find("chat")
        assert entry is not None
        waiter = self.one(name, entry, priority)
        assert self.enter(waiter) is None
        return waiter

    def one(self, name: str, entry: Entry, priority: int | None = None) -> Waiter:
        """Somebody who has not come yet."""
        return Waiter(name, entry, self.leave, None if priority is None else SimpleNamespace(priority=priority))

    def enter(self, waiter: Waiter) -> Refusal | None:
        return self.waits.enter(cast("Errand", waiter), waiter.entry)

    def leave(self, waiter: Waiter) -> None:
        self.waits.leave(cast("Errand", waiter))

    @property
    def order(self) -> list[str]:
        return [cast("Waiter", one).name for one in self.directory.entries["chat"].waiting]


def test_the_greater_priority_goes_first_and_equals_as_they_came() -> None:
    room = Room()
    for name, priority in (("a", None), ("b", 100), ("c", 500), ("d", 0), ("e", 500)):
        room.come(name, priority)
    assert room.order == ["c", "e", "a", "b", "d"]
    assert len(room.waits) == 5


def test_only_the_first_who_waits_is_news() -> None:
    room = Room()
    one, two = room.come("a"), room.come("b")
    assert room.arrived == 1
    room.leave(one)
    room.leave(two)
    room.come("c")
    assert room.arrived == 2


def test_one_that_was_asked_in_vain_keeps_its_turn_and_the_time_that_it_has_waited() -> None:
    room = Room()
    first = room.come("a")
    room.at += 40
    room.leave(first)
    room.come("b")
    assert room.enter(first) is None
    assert (room.order, first.waited) == (["a", "b"], 40.0)
    room.at += 19
    room.waits.settle()
    assert first.told == ["waits at 1059"]
    room.at += 1
    room.waits.settle()
    assert first.told == ["waits at 1059", "unavailable"]
    assert room.order == ["b"]


def test_a_queue_that_is_full_refuses() -> None:
    room = Room(Front(queue=1))
    one = room.come("a")
    refused = room.enter(room.one("b", one.entry))
    assert refused is not None
    assert (refused.status, refused.code) == (503, "queue_full")
    room.leave(one)
    room.come("b")


def test_in_a_queue_that_is_full_the_last_of_the_lowest_priority_gives_way_to_a_higher_one() -> None:
    room = Room(Front(queue=3))
    a, b, c = (room.come(name, 100) for name in "abc")
    room.come("high", 500)
    assert room.order == ["high", "a", "b"]
    assert [one.told for one in (a, b, c)] == [[], [], ["queue_full"]]
    room.come("higher", 900)
    assert room.order == ["higher", "high", "a"]
    for refused in (room.enter(room.one(f"at {priority}", a.entry, priority)) for priority in (100, 0)):
        assert refused is not None
        assert (refused.message, refused.retry_after) == ("cannot wait for chat: 3 may, and others go first", 5)
    assert room.order == ["higher", "high", "a"]


def test_among_equals_one_that_comes_back_goes_before_one_that_came_later() -> None:
    room = Room(Front(queue=1))
    first = room.come("first")
    room.leave(first)
    later = room.come("later")
    assert room.enter(first) is None
    assert room.order == ["first"]
    assert later.told == ["queue_full"]


def test_all_are_told_to_try_once_there_is_a_place_in_their_order() -> None:
    room, tried = Room(), list[str]()
    for name, priority in (("low", 1), ("high", 900)):
        room.come(name, priority).tried = tried
    room.tell(up=True)
    room.waits.settle()
    assert tried == ["high", "low"]
    assert not room.waits.oldest(room.directory.entries["chat"])


def test_while_the_only_place_is_left_alone_they_wait_on() -> None:
    room = Room()
    one = room.come("a")
    room.tell(up=True)
    room.directory.places["chat/0#1"].failed(room.at, "as told")
    room.waits.settle()
    assert one.told == ["waits at 1000"]
    room.at += 1
    room.waits.settle()
    assert one.told[1:] == ["attempt"]


def test_what_cannot_be_is_tried_once_more_so_that_it_is_told_why() -> None:
    room = Room()
    one = room.come("a")
    room.tell(blocked=True)
    room.waits.settle()
    assert one.told == ["attempt"]


def test_who_waited_for_a_model_that_is_gone_looks_up_its_name_once_more() -> None:
    room = Room()
    one = room.come("a")
    room.tell(gone=True)
    room.waits.settle()
    assert one.told == ["attempt"]
    assert len(room.waits) == 0


def test_the_oldest_says_since_when_somebody_waits() -> None:
    room = Room()
    entry = room.come("a").entry
    room.at += 5
    room.come("b", 900)
    room.at += 2
    assert room.waits.oldest(entry) == 7.0
