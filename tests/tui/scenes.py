"""Every screen in a world that stands still, for pictures of it: what is told, what is pressed, what is waited for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reconciler.model.answers import Written
from reconciler.model.bench import Answer
from tests.tui import worlds
from tests.tui.abouts import LOG, METRICS, YAML, about
from tests.tui.daemon import Daemon
from tests.tui.roads import busy, said
from tests.tui.watched import Watched
from tui.screens.chat import Chat
from tui.view.chat import Turn
from tui.view.world import World

MODEL = "gemma-3-27b"
"""The one that is looked into: two replicas are ready."""
FLEET, ROAD = said(*busy())
ANSWER = """\
Two of them, and **both** matter:

1. The *weights*: 27 × 10⁹ parameters in 16 bits are about 54 GB.
2. The cache of keys and values grows with the context.

| context | cache   |
|--------:|--------:|
|    8192 |  1.3 GB |
|   32768 |  5.2 GB |

```python
def cache(tokens: int) -> float:
    return tokens * 0.16e-3  # GB
```
"""


def fleet() -> World:
    return worlds.world(worlds.machine(worlds.status(16, 4), ticks=120))


def planned() -> World:
    return worlds.world(worlds.machine(FLEET, ticks=2, events=()))


def empty() -> World:
    return worlds.world(worlds.machine(worlds.status(0, 2), events=()))


def away() -> World:
    told = "cannot reach the daemon at /run/holdfast.sock: nothing listens there; start it with `holdfast up`"
    return worlds.world(worlds.machine(worlds.status(6, 2), away=told, lost=worlds.WALL - 65))


def _talked(app: Watched) -> None:
    """Something was asked, and answered."""
    assert isinstance(app.screen, Chat)
    talk = app.screen.talk
    assert talk is not None
    measured = Answer(first=0.182, last=4.2, took=4.2, read=31, written=142)
    talk._ended = [Turn(question="What fills the memory of a GPU?", answer=ANSWER, ended=True, measured=measured)]


def _nothing(_app: Watched) -> None:
    """It is there already."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One of them."""

    world: Callable[[], World] = fleet
    place: str
    of: str = ""
    """The workload that it is about."""
    first: Callable[[Watched], None] = _nothing
    before: tuple[str, ...] = ()
    """What stands there before a key is pressed."""
    keys: tuple[str, ...] = ()
    until: tuple[str, ...]
    """What stands there, once all is there."""


_READ = ("preempted a request", "340")
_FOLLOWED = ("preempted a request", "following")


def _workload(*keys: str, until: tuple[str, ...]) -> Scene:
    return Scene(place="Workload", of=MODEL, before=_READ, keys=keys, until=until)


SCENES: Mapping[str, Scene] = {
    "fleet": Scene(place="Fleet", until=("qwen3-32b", "GPU", "in trouble")),
    "fleet-empty": Scene(world=empty, place="Fleet", until=("Fleet",)),
    "fleet-away": Scene(world=away, place="Fleet", until=("nothing listens there",)),
    "fleet-several": Scene(world=worlds.WORLDS["several"], place="Fleet", until=("gpu4",)),
    "fleet-filter": Scene(place="Fleet", keys=("slash", *"qwen"), until=("qwen3-coder-30b-a3b",)),
    "plan": Scene(world=planned, place="Plan", until=("MEMORY",)),
    "gpus": Scene(place="GPUs", until=("busy", MODEL)),
    "events": Scene(place="Events", until=("ready after 21 s",)),
    "chat-models": Scene(place="Chat", until=("Talk to which model?",)),
    "chat": Scene(place="Chat", of=MODEL, first=_talked, until=("to the first token",)),
    "workload": _workload(until=_READ),
    "workload-file": _workload("tab", until=("# what most people talk to",)),
    "workload-launch": _workload("tab", "tab", until=("--max-model-len",)),
    "workload-runs": _workload("tab", "tab", "tab", until=("was killed by signal 9",)),
    "logs": Scene(place="Logs", of=MODEL, until=_FOLLOWED),
    "logs-runs": Scene(place="Logs", of=MODEL, before=_FOLLOWED, keys=("r",), until=("was killed by signal 9",)),
    "help": Scene(place="Help", until=("Everywhere",)),
    "palette": Scene(place="Fleet", keys=("ctrl+p", *"rest"), until=("restart",)),
    "stop": _workload("s", until=("answers nobody",)),
    "replicas": _workload("n", until=("replicas:",)),
}
"""By what their pictures are called."""


def furnish(daemon: Daemon) -> None:
    """Have it answer what the scenes ask it."""
    given = about(MODEL)
    written = Written(path=f"fleet.d/{MODEL}.yaml", line=1, text=YAML.replace("name: chat", f"name: {MODEL}"))
    told: Any = replace(given, written=(written,))
    daemon.answers[f"/workloads/{MODEL}"] = lambda _: told
    daemon.answers["/metrics"] = lambda _: METRICS
    daemon.answers["/plan"] = lambda _: ROAD
    daemon.write(f"{MODEL}/0", LOG)
    daemon.write(f"{MODEL}/1", b"".join(LOG.splitlines(keepends=True)[:9]))
