"""Each GPU in a block of its own."""

from dataclasses import replace

from reconciler.model.live import HostMeters, Live
from reconciler.model.status import Endpoint, GpuShare, HostStatus, Meters
from tests.api.daemon import status, workload
from tests.tui import worlds
from tests.tui.view.test_fleet import GIB, GPU, one, text, world
from tui.view.gpus import blocks
from tui.view.gpus import workload as holding
from tui.view.hues import hues
from tui.view.paint import width
from tui.view.world import Machine, Past

SHARES = (
    GpuShare(holder="chat/0", memory=40 * GIB, ours=True),
    GpuShare(holder="chat/1", memory=40 * GIB, ours=True),
    GpuShare(holder="pid 7 python", memory=20 * GIB, ours=False),
)
CARD = replace(GPU, shares=SHARES, used=100 * GIB)
SAID = Meters(at=200.0, busy=98, celsius=64, watts=310.4, mhz=1980, ecc=0)
CHAT = replace(workload("chat"), endpoints=(Endpoint(slot="chat/0", address="http://x", names=("chat", "gpt", "sql")),))


def past() -> Past:
    found = Past()
    for number in range(120):
        said = Meters(at=1.0, busy=100 if number % 60 >= 30 else 0, celsius=50, watts=400.0 if number < 60 else 200.0)
        found.add(Live(now=1.0, meters={"GPU-0": said}), {"GPU-0": 141 * GIB})
    return found


HERE = one(status(CHAT, gpus=(CARD,), meters={"GPU-0": SAID}), past=past())


def test_a_block_says_who_holds_what_and_how_its_meters_went():
    assert text(blocks(HERE, room=79)).splitlines() == [
        " gpu 0  H200                            1980 MHz   0 memory errors   no XID",
        "   ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▒▒▒▒▒▒▁▁▁▁▁▁▁▁▁▁▁▁▁  100.0 of 141.0 GiB, 41.0 free",
        "   ■ chat/0                             40.0 GiB  also gpt, sql",
        "   ■ chat/1                             40.0 GiB",
        "   ▒ pid 7 python                       20.0 GiB",
        "   busy        98 %   memory      71 %   heat       64 °C   power      310 W",
        "        ⣿⣿⣿⡇   ⢸⣿⣿⣿    ⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿                       ⣿⣿⣿⣿⣿⣿⣿⡇",
        "    ⣀⣀⣀⣸⣿⣿⣿⣇⣀⣀⣀⣿⣿⣿⣿    ⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿    ⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿    ⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿",
    ]


def test_where_it_is_wide_the_past_stands_beside_the_holders():
    lines = text(blocks(HERE, room=200)).splitlines()
    assert len(lines) == 5
    assert "100.0 of 141.0 GiB, 41.0 free" in lines[1]
    assert "busy" in lines[1]
    assert "■ chat/0" in lines[2]
    assert "⣿" in lines[2]


def test_each_holder_of_ours_is_a_thing_of_its_own_that_leads_to_its_workload():
    picture = blocks(HERE, room=79)
    keys = [key for key in picture.keys if key]
    assert len(set(keys)) == len(keys) == 2
    assert [holding(key) for key in keys] == ["/chat", "/chat"]
    assert [text(picture).splitlines()[picture.keys.index(key)].split()[1] for key in keys] == ["chat/0", "chat/1"]


def test_a_holder_has_the_hue_of_its_part_of_the_bar():
    lines = blocks(HERE, room=79).lines
    assert lines[1][1].style == lines[2][1].style == hues((CARD,))["chat"]
    assert lines[4][1].style == "stranger"


def test_all_that_is_wrong_with_a_card_is_said_in_full():
    why = "XID 79 at 11:02: it has fallen off the bus, and nothing can run on it; reset the machine, then resume it"
    sick = replace(CARD, cordoned=why, shares=())
    said = Meters(at=-3400.0, ecc=3, xid=79)
    lines = text(blocks(one(status(gpus=(sick,), meters={"GPU-0": said})), room=79)).splitlines()
    assert lines[0].split()[3:] == ["3", "memory", "errors", "XID", "79", "as", "of", "1h00m", "ago"]
    assert " ".join(line.strip() for line in lines[1:3]) == f"✖ cordoned: {why}"
    assert lines[4].split() == [
        "busy",
        "not",
        "told",
        "memory",
        "71",
        "%",
        "heat",
        "not",
        "told",
        "power",
        "not",
        "told",
    ]


def test_a_card_whose_sensors_are_silent_says_so():
    assert "its sensors tell nothing" in text(blocks(one(status(gpus=(CARD,))), room=79))


def test_a_machine_without_any_shows_its_host_and_says_why_there_is_none():
    host = HostMeters(busy=25.0, cores=64, memory=512 * GIB, used=128 * GIB, load=12.34)
    lines = text(blocks(one(status(), live=Live(now=200.0, host=host)), room=79)).splitlines()
    assert lines[0] == "   no GPU was found here; what runs, runs on its processors"
    assert lines[2].split() == ["host", "64", "cores", "load", "12.3"]
    assert "128.0 of 512.0 GiB of memory" in lines[3]
    assert lines[4].split() == ["busy", "25", "%", "memory", "25", "%"]
    unseen = status(degraded=("cannot see gpus: NVML: version mismatch",))
    assert text(blocks(one(unseen), room=79)).startswith("   cannot see gpus: NVML: version mismatch")


def test_those_of_several_machines_say_whose_they_are_and_those_of_one_that_is_away_are_dim():
    here, away = status(gpus=(CARD,)), status(gpus=(CARD,))
    both = world(Machine(name="a", status=here), Machine(name="b", status=away, away="gone"), Machine(name="c"))
    picture = blocks(both, room=79)
    heads = [line for line in text(picture).splitlines() if "gpu 0" in line]
    assert [head.split()[:3] for head in heads] == [["a", "gpu", "0"], ["b", "gpu", "0"]]
    assert "c asking its daemon …" in text(picture)
    first = next(number for number, line in enumerate(text(picture).splitlines()) if line.startswith(" b gpu 0"))
    assert {cell.style for line in picture.lines[first:-1] for cell in line} == {"dim"}


def test_nothing_is_wider_than_its_room_whatever_the_world():
    for name, each in worlds.all_worlds():
        for room in (59, 79, 119, 249):
            for line in blocks(each, room=room).lines:
                assert sum(width(cell.text) for cell in line) <= room, (name, room, line)


def test_who_holds_the_memory_of_a_host_is_said_where_the_daemon_tells():
    host = HostMeters(busy=25.0, cores=1, memory=64 * GIB, used=48 * GIB, load=0.5)
    ram = HostStatus(memory=64 * GIB, used=48 * GIB, shares=(GpuShare(holder="chat/0", memory=30 * GIB, ours=True),))
    picture = blocks(one(status(CHAT, ram=ram), live=Live(now=200.0, host=host)), room=79)
    assert "■ chat/0                             30.0 GiB" in text(picture)
    assert [holding(key) for key in picture.keys if key] == ["/chat"]
