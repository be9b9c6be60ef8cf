"""Stories of what comes between: a roll-out that fails, waits, or is overtaken by the next edit; every pass."""

from dataclasses import replace

import pytest

from reconciler.model.observation import Exited, NotReady, Running
from tests.plan.stories import Story, become, begun, model
from tests.plan.world import NOW, decide, fleet, text

LOADING = Running(pid=1, since=NOW - 5, readiness=NotReady())
FAILED = Exited(at=NOW - 0.1, code=1, detail="cannot allocate memory")
EDIT = "context: 8192"
AGAIN = "context: 16384"


def chat(more: str = "", *, memory: float = 8) -> str:
    return model("chat", memory, more)


STORIES = [
    Story(
        situation="what is new and has no other place waits for that of the one more until the roll-out is over",
        fleet=chat(EDIT) + model("new", 12),
        on=lambda: begun(chat(), chat(EDIT), 1),
        passes="""
            stop chat/0: SpecChanged (context default → 8192)
            blocked new/0: NoFreeGpu (needs one gpu with 12.0 GiB free; gpu 0: 8.0 GiB of 24.0 GiB free beside \
chat/0, chat/1)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            stop chat/1: ScaledDown
            blocked new/0: Waiting (waits for memory to be given back: gpu 0: 8.0 GiB of 24.0 GiB free beside \
chat/0, chat/1)
            then
            forget chat/1: ScaledDown
            start new/0 on gpu 0 port 9002: NotRunning
            then
            nothing to do
        """,
    ),
    Story(
        situation="the new one loads: nothing else happens until it serves",
        fleet=chat(EDIT),
        on=lambda: become(begun(chat(), chat(EDIT), 1), "chat/1", LOADING),
        passes="blocked chat/0: Waiting (waits for chat/1 to serve, then is replaced (context default → 8192))",
    ),
    Story(
        situation="the new one fails: the old one goes on serving, and it is said why",
        fleet=chat(EDIT),
        on=lambda: become(begun(chat(), chat(EDIT), 1), "chat/1", FAILED),
        passes="""
            blocked chat/0: Waiting (waits for chat/1 to serve, then is replaced (context default → 8192))
            blocked chat/1: BackingOff (exited with status 1 (cannot allocate memory); the first time)
            then
            start chat/1 on gpu 0 port 9001: Exited (exited with status 1 (cannot allocate memory))
            then
            stop chat/0: SpecChanged (context default → 8192)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            stop chat/1: ScaledDown
            then
            forget chat/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="the new one fails again and again: it is tried ever less often, the old one goes on serving",
        fleet=chat(EDIT),
        on=lambda: become(begun(chat(), chat(EDIT), 1), "chat/1", FAILED, strikes=5),
        passes="""
            blocked chat/0: Waiting (waits for chat/1 to serve, then is replaced (context default → 8192))
            blocked chat/1: BackingOff (exited with status 1 (cannot allocate memory); 6 times in a row)
            then
            start chat/1 on gpu 0 port 9001: Exited (exited with status 1 (cannot allocate memory))
            then
            stop chat/0: SpecChanged (context default → 8192)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            stop chat/1: ScaledDown
            then
            forget chat/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="the edit is taken back after the new one failed: it is forgotten, nothing was restarted",
        fleet=chat(),
        on=lambda: become(begun(chat(), chat(EDIT), 1), "chat/1", FAILED),
        passes="""
            forget chat/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="the second of three fails in its place: the third is not touched, and one more serves for it",
        fleet=chat(f"replicas: 3\n{EDIT}", memory=5),
        on=lambda: become(
            begun(chat("replicas: 3", memory=5), chat(f"replicas: 3\n{EDIT}", memory=5), 5), "chat/1", FAILED
        ),
        passes="""
            blocked chat/1: BackingOff (exited with status 1 (cannot allocate memory); the first time)
            blocked chat/2: Waiting (waits for chat/1 to serve, then is replaced (context default → 8192))
            then
            start chat/1 on gpu 0 port 9001: Exited (exited with status 1 (cannot allocate memory))
            then
            stop chat/2: SpecChanged (context default → 8192)
            then
            start chat/2 on gpu 0 port 9002: SpecChanged
            then
            stop chat/3: ScaledDown
            then
            forget chat/3: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="a second edit in the middle of a roll-out: the one more is made anew, the old one serves on",
        fleet=chat(AGAIN),
        on=lambda: begun(chat(), chat(EDIT), 1),
        passes="""
            stop chat/1: SpecChanged (context 8192 → 16384)
            blocked chat/0: Waiting (waits for chat/1 to serve, then is replaced (context default → 16384))
            then
            start chat/1 on gpu 0 port 9001: SpecChanged
            then
            stop chat/0: SpecChanged (context default → 16384)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            stop chat/1: ScaledDown
            then
            forget chat/1: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="a second edit after the first of two was replaced: both are replaced again, one after the other",
        fleet=chat(f"replicas: 2\n{AGAIN}", memory=6),
        on=lambda: begun(chat("replicas: 2", memory=6), chat(f"replicas: 2\n{EDIT}", memory=6), 3),
        passes="""
            stop chat/2: SpecChanged (context 8192 → 16384)
            blocked chat/0: Waiting (waits for chat/2 to serve, then is replaced (context 8192 → 16384))
            blocked chat/1: Waiting (waits for chat/2 to serve, then is replaced (context default → 16384))
            then
            start chat/2 on gpu 0 port 9002: SpecChanged
            then
            stop chat/0: SpecChanged (context 8192 → 16384)
            blocked chat/1: Waiting (waits its turn after chat/0, then is replaced (context default → 16384))
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            blocked chat/1: Waiting (waits for chat/0 to serve, then is replaced (context default → 16384))
            then
            stop chat/1: SpecChanged (context default → 16384)
            then
            start chat/1 on gpu 0 port 9001: SpecChanged
            then
            stop chat/2: ScaledDown
            then
            forget chat/2: ScaledDown
            then
            nothing to do
        """,
    ),
    Story(
        situation="the edit is taken back in the middle: only what was replaced already is replaced again",
        fleet=chat("replicas: 2", memory=6),
        on=lambda: begun(chat("replicas: 2", memory=6), chat(f"replicas: 2\n{EDIT}", memory=6), 3),
        passes="""
            stop chat/2: SpecChanged (context 8192 → default)
            blocked chat/0: Waiting (waits for chat/2 to serve, then is replaced (context 8192 → default))
            then
            start chat/2 on gpu 0 port 9002: SpecChanged
            then
            stop chat/0: SpecChanged (context 8192 → default)
            then
            start chat/0 on gpu 0 port 9000: SpecChanged
            then
            stop chat/2: ScaledDown
            then
            forget chat/2: ScaledDown
            then
            nothing to do
        """,
    ),
]


@pytest.mark.parametrize("story", STORIES, ids=[story.situation for story in STORIES])
def test_story(story: Story) -> None:
    assert story.told() == story.expected


def test_while_the_new_one_fails_nothing_of_the_old_is_touched_whatever_passes() -> None:
    """Not only what is said: over an hour of failures the old instance gets no action at all."""
    on = become(begun(chat(), chat(EDIT), 1), "chat/1", FAILED)
    for minute in range(60):
        on = become(on, "chat/1", replace(FAILED, at=NOW + 60 * minute), strikes=minute)
        decided = decide(fleet(chat(EDIT)), on, now=NOW + 60 * minute + 59.9)
        assert not any(action.slot == "chat/0" for action in decided.actions), text(decided)
