"""Inventory files: read, written, refused in words."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.model.errors import SpecError
from reconciler.model.observation import Gpu
from reconciler.observe import host, inventory
from reconciler.observe.inventory import Inventory

EXAMPLE = """\
node: box1
driver: "580.159.03"
memory: 512GiB            # of the host
gpus:
  - {index: 1, uuid: GPU-b, model: NVIDIA H200, memory: 141GiB}
  - {index: 0, uuid: GPU-a, model: NVIDIA H200, memory: 141GiB, used: 2GiB, links: [1, 2, 3]}
"""


def read(tmp_path, text):
    path = tmp_path / "box1.yaml"
    path.write_text(text)
    return inventory.read(str(path))


def refusal(tmp_path, text):
    with pytest.raises(SpecError) as caught:
        read(tmp_path, text)
    return str(caught.value).replace(str(tmp_path), "").splitlines()


def test_an_inventory_is_read_as_it_is_written(tmp_path):
    """Sizes in bytes, cards by index."""
    assert read(tmp_path, EXAMPLE) == Inventory(
        node="box1",
        memory=512 * 2**30,
        driver="580.159.03",
        gpus=(
            Gpu(index=0, uuid="GPU-a", model="NVIDIA H200", memory=141 * 2**30, used=2 * 2**30, links=(1, 2, 3)),
            Gpu(index=1, uuid="GPU-b", model="NVIDIA H200", memory=141 * 2**30, used=0),
        ),
    )


words = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=20)
cards = st.builds(
    Gpu,
    index=st.integers(0, 1023),
    uuid=words,
    model=words,
    memory=st.integers(0, 2**50),
    used=st.integers(0, 2**50),
    maker=st.sampled_from(["nvidia", "amd"]),
    part=st.booleans(),
    numa=st.none() | st.integers(0, 7),
    cordoned=st.just("") | words,
    links=st.lists(st.integers(0, 7), max_size=3).map(tuple),
)
machines = st.builds(
    Inventory,
    node=st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True),
    memory=st.integers(0, 2**50),
    driver=st.none() | words,
    gpus=st.lists(cards, max_size=4, unique_by=(lambda gpu: gpu.index, lambda gpu: gpu.uuid)).map(
        lambda gpus: tuple(sorted(gpus, key=lambda gpu: gpu.index))
    ),
)


@given(machine=machines)
@settings(max_examples=50)
@example(machine=Inventory(node="0", memory=1, driver="null", gpus=()))
def test_what_is_written_is_read_as_the_same(machine):
    """Whatever a driver calls its cards, whatever a machine is called."""
    assert inventory.parse(inventory.write(machine).encode(), "box1.yaml") == machine


def test_this_machine_can_be_written_down(tmp_path):
    """`holdfast inventory`, and a plan for it elsewhere."""
    here = inventory.of(host.look(), (Gpu(index=0, uuid="GPU-a", model="L4", memory=2**30, used=0),))
    there = inventory.simulated_host(read(tmp_path, inventory.write(here)))
    assert (there.name, there.memory, there.available) == (here.node, here.memory, here.memory)
    assert "vllm" in there.programs


REFUSED = {
    "all problems at once": (
        "node: A_\nmemory: much\ngpus: [{index: zero, kind: x}]\n",
        [
            "/box1.yaml:1:7: node: cannot be 'A_'; choose a-z, 0-9 and '-', at most 63 characters",
            "/box1.yaml:2:9: memory: cannot be 'much'; write a size such as 18GiB, or a number of bytes",
            "/box1.yaml:3:8: gpus.0.uuid: is missing; give it",
            "/box1.yaml:3:8: gpus.0.model: is missing; give it",
            "/box1.yaml:3:8: gpus.0.memory: is missing; give it",
            "/box1.yaml:3:16: gpus.0.index: cannot be 'zero'; input should be a valid integer",
            "/box1.yaml:3:22: gpus.0.kind: is not known; remove it",
        ],
    ),
    "empty": ("", ["/box1.yaml:1:1: cannot be empty; `holdfast inventory` prints this machine's"]),
    "no mapping": (
        "- a\n",
        ["/box1.yaml:1:1: cannot be this; write `key: value` pairs as `holdfast inventory` prints them"],
    ),
    "a key twice": ("node: a\nnode: b\n", ["/box1.yaml:2:1: cannot give node twice; remove one"]),
    "an alias": ("node: &a [*a]\n", ["/box1.yaml:1:7: cannot use an alias here; write the value again"]),
    "two cards of one index": (
        EXAMPLE.replace("index: 1", "index: 0"),
        ["/box1.yaml:5:13: gpus.0.index: cannot be 0 on 2 gpus; give each its own"],
    ),
}


@pytest.mark.parametrize(("text", "problems"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_told_by_place(tmp_path, text, problems):
    """As `path:line:col: key: cannot …`."""
    assert refusal(tmp_path, text) == problems


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "a: " * 3000,
        "- " * 3000 + "x",
        "\x00",
        "!!python/object/apply:os.abort []",
        "%",
        "{",
        "x" * 300_000,
    ],
    ids=range(8),
)
def test_hostile_files_are_refused(tmp_path, text):
    """None of them crashes the process or runs anything."""
    assert refusal(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path):
    """With the system's own word for it."""
    with pytest.raises(SpecError, match="nowhere.yaml:1:1: cannot read the inventory: No such file or directory"):
        inventory.read(str(tmp_path / "nowhere.yaml"))
