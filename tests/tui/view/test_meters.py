"""GPUs and hosts in a few lines."""

from dataclasses import replace

import pytest

from reconciler.model.live import HostMeters, Live
from reconciler.model.status import GpuShare, GpuStatus, Meters, Status
from tests.api.daemon import status
from tests.tui import worlds
from tests.tui.view.test_fleet import GIB, GPU, one, text, world
from tui.view.hues import hues
from tui.view.meters import cards, hosts
from tui.view.paint import width
from tui.view.world import Machine, Past, World

SHARES = (
    GpuShare(holder="chat/0", memory=30 * GIB, ours=True),
    GpuShare(holder="chat/1", memory=30 * GIB, ours=True),
    GpuShare(holder="code/0", memory=20 * GIB, ours=True),
    GpuShare(holder="pid 7 python", memory=20 * GIB, ours=False),
)
FULL = replace(GPU, shares=SHARES, used=101 * GIB)
SICK = replace(GPU, shares=(), used=0, cordoned="XID 79: it has fallen off the bus; reset the machine")
SAID = Meters(at=200.0, busy=98, celsius=64, watts=310.4)


def of(*gpus: GpuStatus, said: Meters = SAID) -> Status:
    numbered = tuple(replace(gpu, index=index) for index, gpu in enumerate(gpus))
    return status(gpus=numbered, meters={gpu.uuid: said for gpu in gpus})


def drawn(some: World, *, room: int, lines: int) -> list[str]:
    return text(cards(some, room=room, lines=lines)).splitlines()


def test_a_card_says_who_holds_it_how_much_and_what_its_sensors_say():
    (line,) = cards(one(of(FULL)), room=38, lines=1).lines
    assert "".join(cell.text for cell in line) == "0 ▇▇▇▇▇▒▁▁▁   101/141G  98% 64°C  310W"
    known = hues((FULL,))
    assert [(cell.text, cell.style) for cell in line[1:5]] == [
        ("▇▇▇▇", known["chat"]),
        ("▇", known["code"]),
        ("▒", "stranger"),
        ("▁▁▁", "dim"),
    ]


def test_where_there_are_lines_enough_each_has_one_for_who_holds_what_in_the_hue_of_its_bar():
    assert drawn(one(of(FULL)), room=60, lines=2)[1] == "  ■ chat 60.0G   ■ code 20.0G   ▒ pid 7 python 20.0G"
    line = cards(one(of(FULL)), room=60, lines=2).lines[1]
    assert [cell.style for cell in line if cell.text == "■ "] == [hues((FULL,))[name] for name in ("chat", "code")]


def test_who_has_no_room_is_counted():
    many = tuple(GpuShare(holder=f"model-{number}/0", memory=GIB, ours=True) for number in range(9))
    assert drawn(one(of(replace(GPU, shares=many))), room=60, lines=2)[1] == (
        "  ■ model-0 1.0G   ■ model-1 1.0G   ■ model-2 1.0G   +6"
    )


def test_where_there_are_not_they_stand_beside_each_other():
    lines = drawn(one(of(FULL, FULL, FULL, SICK)), room=80, lines=2)
    assert [line.split()[0] for line in lines] == ["0", "1"]
    assert lines[1].endswith("3 ▁▁▁▁▁▁▁▁▁▁     0/141G ✖ cordoned")


def test_and_where_that_is_not_enough_it_is_said_how_many_are_left_out():
    assert drawn(one(of(*[FULL] * 8)), room=80, lines=3)[-1] == "and 4 more: 3 shows them all"


def test_a_cordoned_one_says_why():
    assert drawn(one(of(SICK)), room=60, lines=2) == [
        "0 ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁     0/141G ✖ cordoned",
        "  XID 79: it has fallen off the bus; reset the machine",
    ]


def test_memory_that_nobody_is_known_to_hold_is_a_strangers():
    (line,) = cards(one(of(replace(GPU, shares=(), used=141 * GIB))), room=38, lines=1).lines
    assert (line[1].text, line[1].style) == ("▒" * 9, "stranger")


@pytest.mark.parametrize("said", [Meters(at=200.0), Meters(at=190.0, busy=98, celsius=64, watts=310.4)])
def test_what_is_not_known_is_blank_and_what_is_old_is_dim(said: Meters):
    (line,) = cards(one(of(FULL, said=said)), room=38, lines=1).lines
    assert {cell.style for cell in line[6:9]} == {"dim"} or not "".join(cell.text for cell in line[6:]).strip()


def test_of_a_machine_that_is_away_nothing_stands_out():
    (line,) = cards(one(of(FULL), away="gone"), room=38, lines=1).lines
    assert {cell.style for cell in line if cell.text.strip()} == {"dim"}


def test_a_wide_card_shows_how_busy_it_was():
    past = Past(kept=120)
    for busy in (*[0] * 60, *[100] * 60):
        past.add(Live(now=1.0, meters={"GPU-0": Meters(at=1.0, busy=busy)}), {})
    (line,) = cards(one(of(FULL), past=past), room=120, lines=1).lines
    assert line[-2].text == " " + "⣀" * 15 + "⣿" * 15


def test_gpus_of_several_machines_say_whose_they_are():
    two = world(Machine(name="gpu1", status=of(FULL)), Machine(name="gpu2", status=of(FULL)))
    assert [line.split()[:2] for line in drawn(two, room=60, lines=2)] == [["gpu1", "0"], ["gpu2", "0"]]


def test_a_host_says_how_its_processors_and_its_memory_do():
    host = HostMeters(busy=25.0, cores=64, memory=512 * GIB, used=128 * GIB, load=12.34)
    (line,) = hosts(one(status(), live=Live(now=200.0, host=host)), room=80)
    assert "".join(cell.text for cell in line).rstrip() == (
        "host  cpu ▇▇▁▁▁▁  25%   ram ▇▇▁▁▁▁    128/512G   load 12.3 on 64 cores"
    )


def test_a_host_of_which_nothing_is_told_has_no_line():
    assert not list(hosts(one(status(), live=Live(now=200.0)), room=80))
    assert not list(hosts(one(status()), room=80))


def test_who_shares_a_gpu_has_another_hue_and_keeps_it():
    names = ["coder", "summary", *(f"model-{number}" for number in range(6))]  # the first two would have the same one
    shares = tuple(GpuShare(holder=f"{name}/0", memory=GIB, ours=True) for name in names)
    together = hues((replace(GPU, shares=shares),))
    assert len(set(together.values())) == 8
    alone = hues(tuple(replace(GPU, shares=(share,)) for share in shares))
    assert alone == hues(tuple(replace(GPU, shares=(share,)) for share in reversed(shares)))
    assert set(alone) == set(names)
    assert len(set(alone.values())) == 8, "on another GPU too, while there are hues enough"
    more = (*shares, *(replace(share, holder=f"more-{number}/0") for number, share in enumerate(shares)))
    known = hues(tuple(replace(GPU, shares=pair) for pair in zip(more[::2], more[1::2], strict=True)))
    assert all(known[a] != known[b] for a, b in zip(names[::2], names[1::2], strict=True))


def test_nothing_is_wider_than_its_room_whatever_the_world():
    for name, each in worlds.all_worlds():
        for room in (76, 116, 246):
            for line in (*cards(each, room=room, lines=6).lines, *hosts(each, room=room)):
                assert sum(width(cell.text) for cell in line) <= room, (name, room, line)
