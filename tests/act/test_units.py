"""Orders of units: what may be asked for, and what is made of it; what systemd says, as it is read."""

import struct

import pytest

from reconciler.act.units import unit
from reconciler.act.units.journal import entries
from reconciler.act.units.manager import closed, nvidia
from reconciler.act.units.reach import unreadable

TOKEN = "0123456789abcdef" * 2
GOOD = {
    "slot": "chat/0",
    "run": 3,
    "token": TOKEN,
    "argv": ["/usr/bin/vllm", "serve", "$HOME", "%n"],
    "env": {"KEY": 'a "b" $c \\ `d`\ne', "HOME": "/elsewhere"},
    "directory": None,
    "memory": 2**30,
    "gpus": [],
    "grace": 10,
}
WEIGHTS = unit.Weights("/var/cache/holdfast/models", "/var/cache/holdfast")


def made(**other):
    order = unit.Order({**GOOD, **other})
    return unit.command(
        order, state="/s", weights=WEIGHTS, env_file="/run/e", devices=unit.devices(order.gpus, {}, ["render"])
    )


def test_a_unit_is_named_after_its_slot_and_carries_whose_it_is():
    argv = made()
    assert "--unit=holdfast-chat-0.service" in argv
    assert "--slice=holdfast.slice" in argv
    for field in (f"HOLDFAST_TOKEN={TOKEN}", "HOLDFAST_SLOT=chat/0", "HOLDFAST_RUN=3", "HOLDFAST_STATE=/s"):
        assert f"--property=LogExtraFields={field}" in argv


def test_arguments_are_passed_on_as_they_are_and_variables_stand_in_a_file_alone():
    argv = made()
    assert argv[argv.index("--") + 1 :] == ["/usr/bin/vllm", "serve", "$$HOME", "%n"]
    assert not [word for word in argv if "elsewhere" in word]
    text = unit.environment(unit.Order(GOOD))
    assert 'KEY="a \\"b\\" \\$c \\\\ \\`d\\`\ne"\n' in text
    assert 'HOME="/elsewhere"\n' in text


def test_limits_are_those_that_were_ordered():
    argv = made()
    assert {f"--property={each}" for each in ("MemoryMax=1073741824", "MemorySwapMax=0", "TimeoutStopSec=10.000")} < {
        *argv
    }
    assert not [word for word in made(memory=None) if "MemoryMax" in word]


@pytest.mark.parametrize(
    "wrong",
    [
        {"slot": "chat"},
        {"slot": "chat/0\nUser=root"},
        {"slot": "../etc/0"},
        {"slot": "Chat/0"},
        {"slot": None},
        {"token": "x" * 32},
        {"token": TOKEN + "\n"},
        {"run": 0},
        {"run": "1"},
        {"argv": []},
        {"argv": ["vllm"]},
        {"argv": ["/bin/sh", "a\0b"]},
        {"argv": ["/bin/sh", "\ud800"]},
        {"argv": "/bin/sh"},
        {"env": None},
        {"env": {"A B": "c"}},
        {"env": {"A\nB": "c"}},
        {"env": {"A": 1}},
        {"directory": "relative"},
        {"memory": 1},
        {"memory": "1G\nUser=root"},
        {"gpus": ["GPU 0"]},
        {"gpus": ["\n"]},
        {"grace": -1},
        {"grace": float("inf")},
        {"grace": "1"},
    ],
    ids=str,
)
def test_what_is_no_order_is_refused(wrong):
    with pytest.raises(unit.OrderError):
        unit.Order({**GOOD, **wrong})


def test_nobody_who_orders_chooses_users_rights_or_properties():
    """Whatever an order holds beside what is known is no part of the unit."""
    more = {"user": "root", "properties": ["User=root"], "User": "root", "capabilities": "all", "weights": "/root"}
    assert made(**more) == made()
    properties = [word.removeprefix("--property=") for word in made() if word.startswith("--property=")]
    assert "DynamicUser=yes" in properties
    assert "CapabilityBoundingSet=" in properties
    assert not [each for each in properties if each.startswith(("User=", "AmbientCapabilities=", "ExecStartPre="))]


def test_a_unit_sees_its_own_cards_and_no_others():
    assert unit.devices([], {"GPU-1": 0}, ["render"]) == []
    assert "--property=PrivateDevices=yes" in made()
    own = unit.devices(["GPU-2"], {"GPU-1": 0, "GPU-2": 1}, ["render"])
    assert "DeviceAllow=/dev/nvidia1 rw" in own
    assert "DeviceAllow=/dev/nvidia0 rw" not in own
    assert "DeviceAllow=char-nvidia* rw" not in own
    assert "SupplementaryGroups=render" not in own
    other = unit.devices(["MIG-1"], {"GPU-1": 0}, ["render"])
    assert {"DeviceAllow=char-nvidia* rw", "SupplementaryGroups=render"} < {*other}, "a part of a card has no number"
    assert "--property=PrivateDevices=yes" not in made(gpus=["GPU-2"])


def test_cards_are_numbered_as_the_driver_says(tmp_path):
    for number, name in enumerate(("0000:01:00.0", "0000:02:00.0")):
        (tmp_path / name).mkdir()
        text = f"Model: \t NVIDIA H200\nGPU UUID: \t GPU-{number}\nDevice Minor: \t {number + 4}\n"
        (tmp_path / name / "information").write_text(text)
    assert nvidia(str(tmp_path)) == {"GPU-0": 4, "GPU-1": 5}
    assert nvidia(str(tmp_path / "absent")) == {}


def test_what_systemctl_shows_is_read_unit_by_unit():
    text = "Id=a.service\nMainPID=1\nLogExtraFields=HOLDFAST_SLOT=a/0 HOLDFAST_RUN=2\n\nId=b.service\nLogExtraFields=\n"
    assert unit.shown(text) == [
        {"Id": "a.service", "MainPID": "1", "HOLDFAST_SLOT": "a/0", "HOLDFAST_RUN": "2"},
        {"Id": "b.service"},
    ]


def test_the_journal_is_read_entry_by_entry_however_it_comes():
    odd = b"two\nlines \xff"
    whole = (
        b"__CURSOR=1\nMESSAGE=plain\n\n__CURSOR=2\nMESSAGE\n" + struct.pack("<Q", len(odd)) + odd + b"\nA=1\nA=2\n\n"
    )
    wanted = [{b"__CURSOR": b"1", b"MESSAGE": b"plain"}, {b"__CURSOR": b"2", b"MESSAGE": odd, b"A": b"1"}]
    for step in (1, 7, len(whole)):
        data, found = bytearray(), []
        for at in range(0, len(whole), step):
            data += whole[at : at + step]
            found += entries(data)
        assert found == wanted
        assert not data


def test_a_directory_that_is_closed_to_others_is_found_on_the_way(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open" / "shut").mkdir(mode=0o750)
    (tmp_path / "open" / "shut" / "models").mkdir(mode=0o755)
    above = closed(str(tmp_path))  # what the machine itself closes
    assert closed(str(tmp_path / "open" / "shut" / "models")) == (above or str(tmp_path / "open" / "shut"))


def test_who_may_read_a_model_is_told_by_what_stands_in_the_way(tmp_path):
    model = tmp_path / "m.gguf"
    model.write_bytes(b"")
    model.chmod(0o640)
    assert unreadable(str(model), str(tmp_path)) is None, "weights are let in"
    open_above = closed(str(tmp_path)) is None
    assert unreadable("/etc/hostname", "/w") is None
    assert "chmod" in (unreadable(str(model), "/w") or "")
    if open_above:
        assert "others may not read it" in (unreadable(str(model), "/w") or "")
