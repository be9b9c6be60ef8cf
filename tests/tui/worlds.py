"""Worlds of any size: fleets as real ones are, at a moment that can be moved on, and such as no daemon would send."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from reconciler.model.live import HostMeters, Live
from reconciler.model.routing import Traffic, Wanted
from reconciler.model.source import Problem, Revision
from reconciler.model.status import (
    Endpoint,
    Event,
    GatewayStatus,
    GpuShare,
    GpuStatus,
    HostStatus,
    Meters,
    Reason,
    Status,
    WorkloadStatus,
)
from tests.tui.spoiled import spoiled
from tests.tui.states import GIB, NO_ROOM, NOT_HELD, NOW, OOM, STATES, Seat, how, known
from tui.view.world import Machine, Past, World

WALL = 1_800_000_000.0
STEP = 0.5
"""Seconds of a tick."""
CARD = 80 * GIB
_NAMES = (
    "qwen3-32b", "llama-3.3-70b", "gemma-3-27b", "mistral-small-3.2", "phi-4", "qwen3-coder-30b-a3b", "bge-m3",
    "deepseek-r1-distill-70b", "whisper-large-v3", "granite-3.3-8b", "qwen2.5-vl-7b", "rerank-v2", "olmo-2-13b",
)  # fmt: skip
_ENGINES = ("vllm", "llamacpp", "sglang")


def names(count: int) -> list[str]:
    """So many names of models, none twice."""
    return [
        _NAMES[number % len(_NAMES)] + (f"-{number // len(_NAMES)}" if number >= len(_NAMES) else "")
        for number in range(count)
    ]


def status(models: int = 40, gpus: int = 8, *, host: str = "gpu1", tick: int = 0) -> Status:
    """A fleet with models in all states, on cards of 80 GiB: one of them is cordoned, one has a stranger."""
    now = NOW + tick * STEP
    dice = random.Random(f"{host} {tick}")
    room = [CARD - 2 * GIB] * gpus
    held: list[list[GpuShare]] = [[] for _ in range(gpus)]
    if gpus > 2:
        held[2].append(GpuShare(holder="pid 7714 python", memory=38 * GIB + GIB // 5, ours=False))
        room[2] -= 39 * GIB
    if gpus > 5:
        room[5] = 0
    rows: dict[str, WorkloadStatus] = {}
    number = 0
    share = max(2 * GIB, CARD * gpus // max(models, 1) // 2)
    for place, name in enumerate(names(models)):
        state = STATES[place % len(STATES)]
        count = 2 if state in ("pair", "rolling") else 1
        seats: list[Seat] = []
        for index in range(count):
            memory = GIB if state == "asleep" else share + (place * 7 % 11) * share // 12
            wide = 2 if state == "ready" and place % 5 == 1 and gpus > 3 else 1
            there = tuple(sorted(sorted(range(gpus), key=lambda gpu: -room[gpu])[:wide]))
            there = there if there and all(room[gpu] >= memory for gpu in there) else ()
            if there and state not in NOT_HELD:
                for gpu in there:
                    room[gpu] -= memory
                    held[gpu].append(GpuShare(holder=f"{name}/{index}", memory=memory, ours=True))
            seats.append(Seat(name=name, index=index, gpus=there, memory=memory, number=number))
            number += 1
        rows[name] = _row(name, place, how(state, name, seats))
    cards = tuple(_card(number, gpus, tuple(shares), host, dice) for number, shares in enumerate(held))
    waits = any(row.conditions[2].reason is Reason.NoFreeMemory for row in rows.values())
    return Status(
        host=host,
        root="/srv/fleet.d",
        revision=Revision(commit="3f2a9c1" + "0" * 33, dirty=False),
        now=now,
        converged=not rows,
        workloads=dict(sorted(rows.items())),
        gpus=cards,
        meters={card.uuid: _meters(card, now, dice) for card in cards},
        traffic=_traffic(rows.values(), tick, dice),
        gateway=GatewayStatus(connected=True, listen=("http://127.0.0.1:8642",)),
        ram=HostStatus(memory=512 * GIB, used=180 * GIB, shares=()) if waits else None,
    )


def _row(name: str, place: int, told: Mapping[str, Any]) -> WorkloadStatus:
    serving = [replica for replica in told["replicas"] if replica.state == "ready"]
    return WorkloadStatus(
        name=name,
        kind="Model",
        engine=_ENGINES[place % len(_ENGINES)],
        source=f"fleet.d/{name}.yaml:1",
        priority=100 * (place % 4),
        endpoints=tuple(
            Endpoint(slot=replica.slot, address=f"http://127.0.0.1:{replica.port}", names=(name, f"{name}-alias"))
            for replica in serving
        ),
        **known(
            WorkloadStatus,
            {"labels": {"team": ("search", "chat", "research")[place % 3], "tier": "prod" if place % 2 else "test"}},
        ),
        **told,
    )


def _card(number: int, gpus: int, shares: tuple[GpuShare, ...], host: str, dice: random.Random) -> GpuStatus:
    used = sum(share.memory for share in shares) + dice.randrange(GIB // 2)
    cordoned = "xid 79 at 11:02: the card has fallen off the bus; reset the machine, then uncordon it"
    return GpuStatus(
        index=number,
        uuid=f"GPU-{host}-{number:04}",
        model="NVIDIA H100 80GB HBM3",
        memory=CARD,
        used=min(used, CARD),
        shares=shares,
        cordoned=cordoned if number == 5 and gpus > 5 else "",
    )


def _meters(card: GpuStatus, now: float, dice: random.Random) -> Meters:
    if card.cordoned:
        return Meters(at=now - 3600.0, xid=79)
    busy = dice.randint(5, 99) if card.shares else 0
    watts = 70.0 + busy * 5 + dice.random() * 20
    return Meters(at=now, busy=busy, celsius=34 + busy // 2, watts=watts, mhz=1980, ecc=0)


def _traffic(rows: Iterable[WorkloadStatus], tick: int, dice: random.Random) -> dict[str, Wanted]:
    found: dict[str, Wanted] = {}
    for row in rows:
        slots = [replica.slot for replica in row.replicas if replica.state == "ready"]
        if not slots:
            continue
        requests = dice.random() * 40
        waiting = dice.randrange(4) if dice.random() < 0.2 else 0
        found[row.name] = Wanted(
            waiting=waiting,
            oldest=dice.random() * 3 if waiting else 0.0,
            in_flight={slot: dice.randrange(1, 33) for slot in slots},
            traffic=Traffic(
                requests=requests,
                errors=0.2 if dice.random() < 0.05 else 0.0,
                tokens=requests * 45,
                first_byte=0.05 + dice.random(),
                total=int(90_000 + tick * requests),
            ),
        )
    return found


def live(of: Status, tick: int = 0, *, still: bool = False) -> Live:
    """What its meters say at that tick: every figure is another one than a tick before.

    Of one that is `still` only the time is, and all is as it was for a day.
    """
    now = NOW + tick * STEP + (86_400.0 if still else 0.0)
    tick = 0 if still else tick
    dice = random.Random(f"live {of.host} {tick}")
    return Live(
        now=now,
        meters={card.uuid: _meters(card, now, dice) for card in of.gpus},
        traffic=_traffic(of.workloads.values(), tick, dice),
        host=HostMeters(
            busy=5 + dice.random() * 60,
            cores=64,
            memory=512 * GIB,
            used=180 * GIB + dice.randrange(8 * GIB),
            load=dice.random() * 40,
        ),
    )


_HAPPENED = (
    ("info", Reason.Ready, "ready after 21 s"),
    ("warning", Reason.ProbeFailing, "3 failed probes: no answer within 3 s"),
    ("error", Reason.OutOfMemory, OOM),
    ("info", Reason.SpecChanged, "context 16384 → 32768; replaced one after the other"),
    ("error", Reason.Exited, "exited with status 1: ValueError: unsupported quantization"),
    ("info", Reason.Fetched, "fetched hf:Qwen/Qwen3-32B, 61.0 GiB in 4m"),
    ("warning", Reason.NoFreeMemory, NO_ROOM),
)


def events(of: Status, count: int = 40, *, first: int = 1) -> tuple[Event, ...]:
    """What happened there, oldest first, a while between any two."""
    about = [*of.workloads, "daemon", "gateway"]
    return tuple(
        Event(
            seq=seq,
            at=WALL - 40_000 + seq * 47.0,
            severity=_HAPPENED[seq % len(_HAPPENED)][0],  # type: ignore[arg-type]
            subject=(subject := about[seq * 7 % len(about)]) + ("/0" if subject in of.workloads else ""),
            reason=_HAPPENED[seq % len(_HAPPENED)][1],
            message=_HAPPENED[seq % len(_HAPPENED)][2],
        )
        for seq in range(first, first + count)
    )


def machine(of: Status | None, name: str = "", *, ticks: int = 60, **more: Any) -> Machine:
    """One that is known since so many ticks."""
    past = Past()
    if of is None:
        return Machine(name=name, past=past, **more)
    for tick in range(ticks):
        past.add(live(of, tick), {card.uuid: card.used for card in of.gpus})
    given: dict[str, Any] = {"live": live(of, ticks), "events": events(of)} | more
    return Machine(name=name, status=of, past=past, **given)


def world(*machines: Machine) -> World:
    """Of these."""
    return World(machines={each.name: each for each in machines}, wall=WALL)


def troubled(of: Status) -> Status:
    """The same with files to mend, a gateway that is not up and a daemon that cannot see all."""
    return replace(
        of,
        converged=False,
        revision=Revision(commit="9e107d9d372bb6826bd81d3542a419d6e277d6cf", dirty=True),
        gateway=GatewayStatus(connected=False, listen=("http://127.0.0.1:8642",), problems=("cannot listen: in use",)),
        problems=(
            Problem(
                path="fleet.d/chat.yaml",
                line=7,
                column=3,
                key="priority",
                message="cannot be 5000; choose 0-1000",
                names=(next(iter(of.workloads), "chat"),),
            ),
        ),
        degraded=("cannot see gpus: NVML: Driver/library version mismatch; restart the machine",),
    )


def hostile(seed: int = 0) -> World:
    """One that no daemon of ours would tell of; another for each seed."""
    dice = random.Random(seed)
    past = Past()
    of: Status = spoiled(Status, dice)
    seen = tuple(spoiled(Event, dice) for _ in range(20))
    for _ in range(4):
        past.add(spoiled(Live, dice), {card.uuid: card.used for card in of.gpus})
    here = Machine(name=spoiled(str, dice), status=of, live=spoiled(Live, dice), events=seen, past=past)
    away = Machine(name=spoiled(str, dice), away=spoiled(str, dice))
    return World(machines={each.name: each for each in (here, away)}, wall=spoiled(float, dice))


def _several() -> World:
    there = (machine(status(12, 4, host=name), name) for name in ("gpu1", "gpu2", "gpu3"))
    away = "cannot reach the daemon at gpu4: Connection refused"
    return world(*there, machine(None, "gpu4", away=away), machine(None, "gpu5"))


WORLDS: Mapping[str, Callable[[], World]] = {
    "fleet": lambda: world(machine(status())),
    "small": lambda: world(machine(status(3, 1))),
    "large": lambda: world(machine(status(200, 8))),
    "empty": lambda: world(machine(status(0, 8))),
    "bare": lambda: world(machine(status(0, 0))),
    "cpu": lambda: world(machine(status(12, 0))),
    "unheard": lambda: world(machine(None)),
    "away": lambda: world(
        machine(status(), away="cannot reach the daemon at /run/holdfast.sock: nothing listens there")
    ),
    "troubled": lambda: world(machine(troubled(status()))),
    "several": _several,
}
"""By name, all but those that are `hostile`."""


def all_worlds(hostiles: int = 10) -> Iterator[tuple[str, World]]:
    """Every one of them, and some hostile ones."""
    for name, make in WORLDS.items():
        yield name, make()
    for seed in range(hostiles):
        yield f"hostile {seed}", hostile(seed)
