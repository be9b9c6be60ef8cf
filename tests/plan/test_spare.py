"""Which weights may go, in which order, and what that gives back."""

from dataclasses import replace

import pytest

from reconciler.model.memory import Memory
from reconciler.model.observation import Exited, Unknown
from reconciler.model.plan import Start
from reconciler.model.source import Problem
from reconciler.model.status import Reason
from reconciler.model.stored import Blob, Kept, Shelf
from reconciler.plan import spare
from tests.api.daemon import launch
from tests.plan.world import fleet, instance

MIB = 2**20
CHAT = "kind: Model\nname: chat\nsource: hf:o/chat\nengine: vllm\ngpus: 1\nmemory: 20GiB\n"


def kept(source: str, **more: object) -> Kept:
    return Kept(**{"source": source, "state": "whole", "unneeded_since": 100.0, **more})  # type: ignore[arg-type]


def blob(path: str, mib: int, *sources: str, stays: bool = False) -> Blob:
    return Blob(path=path, size=mib * MIB, sources=sources, stays=stays)


def shelf(*found: Kept, blobs: tuple[Blob, ...] = (), frozen: str = "") -> Shelf:
    return Shelf(
        path="/c/holdfast", hub="/c/hub", ollama="/c/ollama", size=0, free=0, kept=found, blobs=blobs, frozen=frozen
    )


NEEDED = kept("hf:o/needed", needed_by=("chat",), unneeded_since=None)
IN_USE = kept("hf:o/held", held_by=("old/0",))
COMING = kept("hf:o/coming", state="fetching")
OLD, OLDER = kept("hf:o/old"), kept("hf:o/older", unneeded_since=50.0)
USED = kept("hf:o/used", unneeded_since=10.0, used=200.0)


def test_nothing_goes_that_is_needed_in_use_or_on_its_way() -> None:
    on = shelf(NEEDED, IN_USE, COMING, OLD)
    assert [each.source for each in spare.spare(on)] == ["hf:o/old"]
    assert spare.refused(on, ["hf:o/old"]) == ""
    assert spare.refused(on, ["hf:o/needed"]) == "hf:o/needed: chat needs it"
    assert spare.refused(on, ["hf:o/held"]) == "hf:o/held: it is in use by old/0"
    assert spare.refused(on, ["hf:o/coming"]) == "hf:o/coming: it is being fetched"
    assert spare.refused(on, ["hf:o/none"]) == "hf:o/none: it is not here"


def test_what_was_longest_of_no_use_goes_first() -> None:
    on = shelf(USED, OLD, OLDER)
    assert [each.source for each in spare.spare(on)] == ["hf:o/older", "hf:o/old", "hf:o/used"]
    assert [each.source for each in spare.spare(on, before=100.0)] == ["hf:o/older", "hf:o/old"]


def test_what_is_shared_is_given_back_once_and_with_its_last_user() -> None:
    both = ("hf:o/old", "hf:o/older")
    on = shelf(OLD, OLDER, blobs=(blob("a", 5, *both), blob("b", 1, "hf:o/old"), blob("c", 2, *both, stays=True)))
    assert spare.freed(on, ["hf:o/old"]) == MIB
    assert spare.freed(on, ["hf:o/older"]) == 0
    assert spare.freed(on, both) == 6 * MIB


ROOM = shelf(
    *(OLDER, OLD, USED, NEEDED),
    blobs=(
        blob("a", 1, "hf:o/older"),
        blob("b", 8, "hf:o/old"),
        blob("c", 4, "hf:o/used"),
        blob("d", 90, "hf:o/needed"),
    ),
)
WORDS = {
    1: "`holdfast models prune hf:o/older` gives back 1.0 MiB",
    2: "`holdfast models prune hf:o/old` gives back 8.0 MiB",
    9: "`holdfast models prune hf:o/older hf:o/old` gives back 9.0 MiB",
    13: "`holdfast models prune hf:o/older hf:o/old hf:o/used` gives back 13.0 MiB",
    20: "`holdfast models prune hf:o/older hf:o/old hf:o/used` gives back 13.0 MiB of the 20.0 MiB that it lacks",
}


@pytest.mark.parametrize("short", WORDS)
def test_as_much_as_is_lacking_is_advised_and_no_more(short: int) -> None:
    assert spare.advised(ROOM, short * MIB) == WORDS[short]


def test_where_nothing_may_go_that_is_said() -> None:
    on = shelf(NEEDED, blobs=(blob("a", 9, "hf:o/needed"),))
    assert spare.advised(on, MIB).startswith("nothing in it is unneeded: make room there")


def test_names_with_stars_can_be_typed_as_they_are_advised() -> None:
    on = shelf(kept("hf:o/x/*.gguf"), blobs=(blob("a", 9, "hf:o/x/*.gguf"),))
    assert "prune 'hf:o/x/*.gguf'`" in spare.advised(on, MIB)


def test_what_instances_were_started_with_is_held_until_they_have_ended() -> None:
    of = fleet(CHAT)
    running = replace(instance(of, "chat/0"), launch=launch("chat/0", files=("/c/it",)))
    over = replace(running, phase=Exited(code=0, at=1.0))
    held = spare.held({"chat/0": running}, ())
    assert held == dict.fromkeys(running.launch.files, ("chat/0",))
    assert held
    assert spare.held({"chat/0": over}, ()) == {}
    start = Start(slot="new/0", launch=launch("new/0", files=("/c/x",)), reason=Reason.NotRunning)
    assert spare.held(Unknown(reason="?"), Memory(in_flight={"new/0": start}).in_flight.values()) == {
        "/c/x": ("new/0",)
    }


def test_nothing_goes_while_it_cannot_be_told_what_is_needed() -> None:
    broken = fleet("", problems=(Problem(path="fleet.d/x.yaml", message="is broken"),))
    assert spare.frozen(broken, {}) == "it cannot be told what is needed: mend fleet.d/x.yaml first"
    assert spare.frozen(fleet(CHAT), Unknown(reason="no slots")) == "it cannot be seen what runs: no slots"
    assert spare.frozen(fleet(CHAT), {}) == ""
    on = shelf(OLD, frozen="it cannot be told")
    assert spare.spare(on) == []
    assert spare.refused(on, ["hf:o/old"]) == "hf:o/old: it cannot be told"
