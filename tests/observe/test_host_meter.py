"""How busy the machine is, for those who watch."""

import os

import pytest

from reconciler.observe.host_meter import HostMeter


def cpu(*ticks: int) -> str:
    return f"cpu  {' '.join(map(str, ticks))}\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n"


def test_the_machine_is_as_it_is():
    """Cores, memory and load are the kernel's; nobody can be busy since a reading that was not made."""
    first = HostMeter().read()
    assert first is not None
    assert first.busy is None
    assert first.cores == os.cpu_count()
    assert first.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < first.used < first.memory
    assert first.load >= 0


@pytest.mark.parametrize(
    ("then", "busy"),
    [
        ((150, 0, 0, 950, 0, 0, 0, 0, 0, 0), 50.0),
        ((100, 0, 0, 950, 50, 0, 0, 0, 0, 0), 0.0),
        ((110, 10, 10, 940, 10, 5, 5, 10, 0, 0), 50.0),
        ((130, 0, 0, 970, 0, 0, 0, 0, 30, 0), 30.0),
        ((100, 0, 0, 900, 0, 0, 0, 0, 0, 0), None),
        ((90, 0, 0, 450, 0, 0, 0, 0, 0, 0), None),
        ((210, 0, 0, 890, 0, 0, 0, 0, 0, 0), 100.0),
    ],
    ids=[
        "half of the time",
        "waiting for a disk is not work",
        "all kinds of work count",
        "what a guest did is counted once",
        "no time has passed",
        "a core was taken offline",
        "more worked than passed",
    ],
)
def test_busy_is_the_share_of_all_cores_since_the_last_reading(tmp_path, then, busy):
    stat = tmp_path / "stat"
    stat.write_text(cpu(100, 0, 0, 900, 0, 0, 0, 0, 0, 0))
    meter = HostMeter(str(stat))
    meter.read()
    stat.write_text(cpu(*then))
    found = meter.read()
    assert found is not None
    assert found.busy == (pytest.approx(busy) if busy is not None else None)


@pytest.mark.parametrize("text", [None, "", "cpu\n", "cpu  1 2 x\n", "cpu  1 2 3\n"])
def test_what_cannot_be_read_is_not_known_and_the_rest_is(tmp_path, text):
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)
    meter = HostMeter(str(stat))
    for _ in range(2):
        found = meter.read()
        assert found is not None
        assert found.busy is None
