"""A monkey at the keys, always the same for a seed: it presses, clicks and resizes while a daemon comes and goes.

`python -m tests.tui.monkey --minutes 60` lets one after the other play; what one did is told where something broke.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from textual.events import MouseScrollDown, MouseScrollUp, Paste
from textual.pilot import Pilot

from reconciler.model.answers import About
from reconciler.model.facts import Road
from reconciler.model.live import Live
from reconciler.model.metrics import ReplicaMetrics
from reconciler.model.status import Event, Status
from tests.tui import worlds
from tests.tui.abouts import LOG, METRICS, about
from tests.tui.daemon import Daemon, encoded
from tests.tui.spoiled import GARBAGE, NASTY, spoiled
from tests.tui.watched import Watched, looked, resize, watched

KEYS = (
    *"12345", *"12345", *"jkjkjkjkhlHL", *"gG", *"lcrspunobaPtWvfewmiN", "question_mark", "slash", "ctrl+p", "ctrl+o",
    "ctrl+l", "ctrl+t", "ctrl+j", "escape", "escape", "escape", "enter", "enter", "up", "down", "left", "right",
    "pageup", "pagedown", "home", "end", "tab", "shift+tab", "space", "y", "backspace", *"qwx7(*[\\", "ctrl+c",
    "ctrl+q",
)  # fmt: skip
LEAST, MOST = (20, 5), (250, 70)
SIZES = ((80, 24), (250, 70), (120, 36), (60, 15), LEAST)


class Monkey:
    """One of them."""

    def __init__(self, seed: int, daemon: Daemon) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.did: list[str] = []
        self._daemon = daemon
        self._runs = True

    @property
    def story(self) -> str:
        """What it did, the last of it."""
        again = f"python -m tests.tui.monkey --seed {self.seed} --acts {len(self.did)}"
        return f"monkey {self.seed} broke it with act {len(self.did)}; again: `{again}`\n… {', '.join(self.did[-60:])}"

    async def play(self, app: Watched, pilot: Pilot[None], acts: int) -> None:
        """So many things. AssertionError with what it did."""
        try:
            for _ in range(acts):
                await self._act(app, pilot)
                await looked(app, pilot)
        except Exception as error:
            raise AssertionError(self.story) from error

    async def _act(self, app: Watched, pilot: Pilot[None]) -> None:
        chance = self.dice.random()
        if chance < 0.02:
            await self._resize(app, pilot)
        elif chance < 0.08:
            await self._mouse(app, pilot)
        elif chance < 0.09:
            text = self.dice.choice(NASTY)
            self._note(f"paste {text[:40]!r}")
            app.post_message(Paste(text))
        elif chance < 0.13:
            self._tell()
        elif chance < 0.15:
            self._trouble()
        else:
            key = self.dice.choice(KEYS)
            self._note(key)
            await pilot.press(key)

    def _note(self, what: str) -> None:
        self.did.append(what)

    async def _resize(self, app: Watched, pilot: Pilot[None]) -> None:
        between = self.dice.randint(LEAST[0], MOST[0]), self.dice.randint(LEAST[1], MOST[1])
        size = self.dice.choice((*SIZES, between))
        self._note(f"resize {size}")
        await resize(app, pilot, size)

    async def _mouse(self, app: Watched, pilot: Pilot[None]) -> None:
        at = self.dice.randrange(app.size.width), self.dice.randrange(app.size.height)
        does = self.dice.choice(("click", "click", "double click", "scroll down", "scroll up"))
        self._note(f"{does} {at}")
        if "click" in does:
            await pilot.click(offset=at, times=2 if does == "double click" else 1)
        else:
            kind = MouseScrollDown if does == "scroll down" else MouseScrollUp
            await pilot._post_mouse_events([kind], offset=at, button=0)

    def _tell(self) -> None:
        """The daemon tells something else, as a daemon does or as none would."""
        daemon, dice = self._daemon, self.dice
        if dice.random() < 0.4:
            self._note("the daemon tells what it likes")
            daemon.publish(spoiled(Status, dice), spoiled(Live, dice))
            daemon.happen(*(spoiled(Event, dice) for _ in range(3)))
        else:
            size = dice.choice(((12, 4), (40, 8), (0, 0), (3, 1), (200, 64), (1500, 8)))
            self._note(f"a fleet of {size}")
            status = worlds.status(*size, tick=dice.randrange(60))
            daemon.publish(status, worlds.live(status, dice.randrange(60)))

    def _trouble(self) -> None:
        """It comes, goes, hangs, and answers what cannot be understood."""
        daemon = self._daemon
        does = self.dice.choice(("hang", "restart", "cut", "line", "end"))
        self._note(f"the daemon: {does}")
        daemon.hung.clear()
        if not self._runs:
            daemon.start()
            self._runs = True
        if does == "hang":
            daemon.hung.set()
        elif does == "cut":
            daemon.cut()
        elif does == "line":
            daemon.publish_raw(self.dice.randrange(2), self.dice.choice(GARBAGE))
        else:
            daemon.close()
            self._runs = does == "restart"
            if self._runs:
                daemon.start()


def answering(daemon: Daemon, dice: random.Random) -> None:
    """Have it answer what it likes wherever it is asked."""
    for path, kind, good in (
        ("/plan", Road, None),
        ("/metrics", tuple[ReplicaMetrics, ...], METRICS),
        *((f"/workloads/{name}", About, about(name)) for name in worlds.status(12, 4).workloads),
    ):
        wrong = [encoded(spoiled(kind, dice)) for _ in range(3)] if path != "/plan" else []
        rather = [encoded(daemon.answers["/plan"]({}) if good is None else good)]
        daemon.answers[path] = _one_of(dice, [*wrong, *rather, *GARBAGE[1:4]])
    for name in worlds.status(12, 4).workloads:
        daemon.write(f"{name}/0", LOG + "\n".join(NASTY).encode(errors="surrogatepass") + b"\xff\n" + LOG)


def _one_of(dice: random.Random, answers: list[bytes]) -> Callable[[object], bytes]:
    return lambda _: dice.choice(answers)


async def play(seed: int, acts: int, place: Path) -> int:
    """Let the monkey of that seed play; how much it did. AssertionError with its story."""
    first = worlds.status(12, 4)
    with Daemon(place / f"{seed}.sock", first, events=worlds.events(first)) as daemon:
        daemon.client = type(daemon.client)(daemon.path, timeout=1.0)
        answering(daemon, random.Random(seed))
        monkey = Monkey(seed, daemon)
        app = Watched({"": daemon.client}, every=0.2)
        try:
            async with watched(app, (120, 36)) as pilot:
                await monkey.play(app, pilot, acts)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(monkey.story) from error
        return len(monkey.did)


def main() -> None:
    """One monkey after the other, or one again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--acts", type=int, default=2000, help="what each does")
    parser.add_argument("--seed", type=int, default=None, help="this one alone")
    given = parser.parse_args()
    end = time.monotonic() + given.minutes * 60
    seed, total = given.seed if given.seed is not None else 1, 0
    with tempfile.TemporaryDirectory() as place:
        while True:
            total += asyncio.run(play(seed, given.acts, Path(place)))
            print(f"monkey {seed}: nothing broke; {total} acts so far", flush=True)
            if given.seed is not None or time.monotonic() > end:
                return
            seed += 1


if __name__ == "__main__":
    main()
