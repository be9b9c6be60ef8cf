"""The machines written down in `docs/inventories`: each is read, and the example fleets are planned on it."""

from pathlib import Path

import pytest

from reconciler.model.errors import SpecError
from reconciler.model.memory import Memory
from reconciler.observe import inventory
from reconciler.observe.gather import offline
from reconciler.plan.road import road
from reconciler.spec.load import load_once
from tests.plan.world import ahead_of
from tui.view.foresee import outlook
from tui.view.outlook import Outlook
from tui.view.plan import plan_text

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = [*sorted((ROOT / "docs/inventories").glob("*.yaml")), ROOT / "docs/example/inventory.yaml"]
MIB = 2**20
MODEL = "kind: Model\nname: {name}\nsource: file:not-here.gguf\ngpus: {gpus}\nmemory: {memory}\n---\n"


def planned(path: Path, fleet: Path) -> Outlook:
    loaded = load_once(str(fleet))
    assert loaded.problems == ()
    seen = offline([inventory.read(str(path))], lambda: 0.0)
    return outlook(ahead_of(loaded, seen, road(loaded, seen, {}, Memory(), 0.0)), machine=seen.host.name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_machine_is_what_its_file_is_called(path):
    """As `nvidia-smi` reports it: a whole number of MiB, of a model that it names, empty."""
    machine = inventory.read(str(path))
    _, _, count = path.stem.rpartition("-x")
    if path.parent.name == "inventories":
        assert machine.node == path.stem
        assert len(machine.gpus) == (0 if path.stem == "cpu-only" else int(count) if count.isdigit() else 1)
        assert not any(gpu.used for gpu in machine.gpus)
    assert machine.memory % 2**30 == 0
    for gpu in machine.gpus:
        assert gpu.memory % MIB == 0
        assert gpu.model.startswith("NVIDIA ")
        for other in gpu.links:
            assert gpu.index in machine.gpus[other].links, "a link has two ends"
            assert other != gpu.index


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("fleet", ["fleet.d", "docs/example/fleet.d"])
def test_the_example_fleets_are_planned_on_it(path, fleet):
    """Every model starts or says why not, no GPU is given out twice, and all its GPUs are shown."""
    seen = planned(path, ROOT / fleet)
    machine = inventory.read(str(path))
    told = {change.subject.partition("/")[0] for change in seen.changes}
    assert told == set(load_once(str(ROOT / fleet)).workloads)
    assert [gpu.index for gpu in seen.gpus] == [gpu.index for gpu in machine.gpus]
    for gpu in seen.gpus:
        assert sum(holding.memory for holding in gpu.after.holdings) <= gpu.memory
    for width in (60, 80, 100, 140):
        text = plan_text(seen, width=width, colour=False, steps=True)
        assert max(map(len, text.splitlines())) <= width


def test_a_model_whose_file_is_not_here_is_planned_elsewhere(tmp_path):
    (tmp_path / "a.yaml").write_text(MODEL.format(name="a", gpus=2, memory="20GiB"))
    seen = planned(ROOT / "docs/inventories/rtx-3090-x2.yaml", tmp_path)
    assert [(change.verb, change.after and change.after.gpus) for change in seen.changes] == [("start", (0, 1))]


def test_two_cards_are_told_when_one_fleet_fits_and_when_not(tmp_path):
    """The question that inventories answer."""
    (tmp_path / "a.yaml").write_text("".join(MODEL.format(name=name, gpus=1, memory="11GiB") for name in "abcd"))
    seen = planned(ROOT / "docs/inventories/rtx-3090-x2.yaml", tmp_path)
    assert {change.verb for change in seen.changes} == {"start"}
    (tmp_path / "b.yaml").write_text(MODEL.format(name="e", gpus=1, memory="11GiB"))
    seen = planned(ROOT / "docs/inventories/rtx-3090-x2.yaml", tmp_path)
    assert [(change.subject, change.reason.value) for change in seen.changes if change.mark == "!"] == [
        ("e/0", "NoFreeGpu")
    ]


def test_several_machines_are_planned_together_and_none_of_them_twice(tmp_path):
    """A gang too large for the first machine goes to the second, which is named."""
    (tmp_path / "a.yaml").write_text(MODEL.format(name="a", gpus=4, memory="20GiB"))
    both = [inventory.read(str(ROOT / f"docs/inventories/{name}.yaml")) for name in ("rtx-3090-x2", "l40s-x4")]
    fleet = load_once(str(tmp_path))
    observation = offline(both, lambda: 0.0)
    seen = outlook(ahead_of(fleet, observation, road(fleet, observation, {}, Memory(), 0.0)))
    assert [str(change.after) for change in seen.changes] == [f"llamacpp on {both[1].node} gpu 0-3, port 9000"]
    with pytest.raises(SpecError, match="give each its own node"):
        inventory.read_all([str(ROOT / "docs/inventories/l40s-x4.yaml")] * 2)
