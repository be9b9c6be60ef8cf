"""AMD's cards: a made tree of sysfs and /proc."""

import os
from pathlib import Path

import pytest

from reconciler.model.observation import Gpu, Holder
from reconciler.model.status import Meters
from reconciler.observe.amd import Amd
from reconciler.observe.gpus import Gpus
from tests.eventually import eventually

MIB = 2**20


class Tree:
    """/sys/class/drm and /proc as the amdgpu driver makes them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "drm").mkdir()
        (root / "proc").mkdir()

    def card(self, number: int, bus: str, **files: object) -> Path:
        device = self.root / "pci" / bus
        sensors = device / "hwmon" / "hwmon3"
        sensors.mkdir(parents=True)
        for name, value in {"vendor": "0x1002", **files}.items():
            into = sensors if name.startswith(("temp", "power", "freq")) else device
            (into / name).write_text(f"{value}\n")
        (self.root / "drm" / f"card{number}").mkdir()
        (self.root / "drm" / f"card{number}-DP-1").mkdir()
        (self.root / "drm" / f"card{number}" / "device").symlink_to(device)
        return device

    def holds(self, pid: int, name: str, *clients: tuple[str, int, int]) -> None:
        """A process with descriptors of these: PCI address, client, MiB."""
        home = self.root / "proc" / str(pid)
        for part in ("fd", "fdinfo"):
            (home / part).mkdir(parents=True)
        (home / "comm").write_text(f"{name}\n")
        (home / "fd" / "0").symlink_to("/dev/null")
        for number, (bus, client, mib) in enumerate(clients, 3):
            (home / "fd" / str(number)).symlink_to("/dev/dri/renderD128")
            (home / "fdinfo" / str(number)).write_text(
                f"pos:\t0\ndrm-driver:\tamdgpu\ndrm-client-id:\t{client}\ndrm-pdev:\t{bus}\n"
                f"drm-memory-vram:\t{mib * 1024} KiB\ndrm-memory-gtt:\t99 KiB\n"
            )

    def amd(self) -> Amd:
        return Amd(clock=lambda: 7.0, drm=str(self.root / "drm"), proc=str(self.root / "proc"))


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def big(tree, number=1, bus="0000:03:00.0", unique="8c1a1f2d3e4b5a69", **more):
    facts = {"mem_info_vram_total": 192 * 2**30, "mem_info_vram_used": 700 * MIB, "unique_id": unique, **more}
    return tree.card(number, bus, **facts)


def test_a_card_is_seen_with_its_sensors_and_who_holds_it(tree):
    """A descriptor that was duplicated counts once, another card's not at all."""
    big(
        tree, product_name="AMD Instinct MI300X OAM", numa_node=1, gpu_busy_percent=42,
        temp1_input=61000, power1_average=512_000_000, freq1_input=2_100_000_000,
    )  # fmt: skip
    tree.card(0, "0000:c3:00.0", mem_info_vram_total=512 * MIB, mem_info_vram_used=1)  # part of a processor
    one = ("0000:03:00.0", 17, 500)
    tree.holds(42, "vllm", one, one, ("0000:03:00.0", 18, 100), ("0000:04:00.0", 19, 77))
    tree.holds(43, "idle")
    (seen,) = tree.amd().read(first=2)
    assert seen.gpu == Gpu(
        index=2, uuid="GPU-8c1a1f2d3e4b5a69", model="AMD Instinct MI300X OAM", maker="amd", numa=1,
        memory=192 * 2**30, used=700 * MIB, holders=(Holder(pid=42, name="vllm", memory=600 * MIB),),
    )  # fmt: skip
    assert seen.meters == Meters(at=7.0, busy=42, celsius=61, watts=512.0, mhz=2100)


def test_what_a_card_does_not_tell_is_not_told(tree):
    """No sensors, no name, no NUMA node."""
    big(tree, device="0x744c", numa_node=-1)
    (seen,) = tree.amd().read()
    assert (seen.gpu.model, seen.gpu.numa, seen.meters) == ("AMD 0x744c", None, Meters(at=7.0))


def test_a_new_holder_is_seen_when_the_use_of_a_card_changes(tree):
    """Looking through all processes is dear; what takes memory is noticed at once, what takes none in a while."""
    device, amd = big(tree), tree.amd()
    assert amd.read()[0].gpu.holders == ()
    tree.holds(42, "vllm", ("0000:03:00.0", 17, 500))
    assert amd.read()[0].gpu.holders == ()
    (device / "mem_info_vram_used").write_text(str(1200 * MIB))
    assert [holder.pid for holder in amd.read()[0].gpu.holders] == [42]


def test_a_card_that_tells_no_more_is_unsure(tree):
    """Not absent."""
    device, amd = big(tree), tree.amd()
    amd.read()
    (device / "mem_info_vram_used").unlink()
    (seen,) = amd.read()
    assert seen.unsure == "gpu 0: amdgpu does not tell of its memory"


def test_without_a_card_there_is_none(tree):
    assert tree.amd().read() == ()


def test_a_machine_with_amd_s_cards_alone_is_polled(tree):
    """There is no NVIDIA driver, and that is nothing to wait for."""
    device = big(tree)
    poller = Gpus("auto", clock=lambda: 7.0, interval=0.01, amd=tree.amd())
    poller.start()
    try:
        seen = poller.look()
        assert isinstance(seen, tuple)
        assert [gpu.uuid for gpu in seen] == ["GPU-8c1a1f2d3e4b5a69"]
        assert poller.meters().keys() == {"GPU-8c1a1f2d3e4b5a69"}
        (device / "mem_info_vram_used").write_text(str(900 * MIB))
        eventually(lambda: isinstance(seen := poller.look(), tuple) and seen[0].used == 900 * MIB)
    finally:
        poller.stop()


def test_every_descriptor_may_vanish_while_it_is_looked_at(tree):
    """Processes end at any time."""
    big(tree)
    tree.holds(42, "vllm", ("0000:03:00.0", 17, 500))
    os.remove(tree.root / "proc" / "42" / "fdinfo" / "3")
    (tree.root / "proc" / "43").mkdir()
    assert tree.amd().read()[0].gpu.holders == ()
