"""What labels of containers are believed, and what is known of one without asking."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.act import oom, record
from reconciler.act.docker.api import Api
from reconciler.act.docker.labels import RECORD, RUN, SLOT, TOKEN, labels, row
from reconciler.act.docker.slot import ContainerSlot, Site
from reconciler.model.container import Container
from tests.act.stage import launch

KNOWN = record.new(replace(launch(), container=Container(image="i", shm=2**30)), "boot")


def listed(name="/holdfast-chat-0", **changes) -> Any:
    said = {**labels("m:/state", KNOWN), **changes}
    return {"Id": "c1", "State": "running", "Names": [name], "Labels": said}


def ours(told) -> Any:
    found = row(told)
    assert found is not None
    return found


def test_one_whose_labels_name_and_record_agree_is_ours_and_can_be_taken_up():
    found = ours(listed())
    assert (found.slot, found.token, found.named, found.record) == ("chat/0", KNOWN.token, True, KNOWN)


def test_one_of_another_name_says_so():
    assert ours(listed("/debugging")).named is False


@pytest.mark.parametrize(
    "slot", ["nonsense", "a/b", "../../python3/11", "/etc/0", "chat/-1", "chat/0/", "Chat/0", "", None, 7]
)
def test_what_is_no_slot_is_passed_by(slot):
    assert row(listed(**{SLOT: slot})) is None


@pytest.mark.parametrize("missing", [SLOT, TOKEN, RUN, RECORD])
def test_one_with_labels_in_part_is_passed_by(missing):
    told = listed()
    del told["Labels"][missing]
    assert row(told) is None


@pytest.mark.parametrize("told", [{}, {"Labels": None}, [], None])
def test_a_line_in_part_is_passed_by(told):
    assert row(told) is None


@pytest.mark.parametrize("lie", [{SLOT: "chat/1"}, {TOKEN: "t"}, {RUN: "9"}, {RECORD: "{}"}, {RECORD: "no"}])
def test_one_whose_labels_contradict_each_other_is_taken_up_by_nobody(lie):
    assert ours(listed(**lie)).record is None


@pytest.mark.parametrize("slot", ["../x/0", "a/b/0", "./0", "/0"])
def test_no_slot_leads_out_of_its_directory(slot):
    with pytest.raises(ValueError, match="no slot"):
        record.folder(slot)


def test_a_signal_long_ago_explains_no_later_end(tmp_path):
    now = [100.0]
    watch = oom.Watch(oom.MACHINE)
    site = Site(directory=str(tmp_path), api=Api(), on_change=lambda _: None, clock=lambda: now[0], oom=watch)
    slot = ContainerSlot("chat/0", site)
    slot.blame("somebody sent it signal 1")
    assert slot.foreign == "somebody sent it signal 1"
    now[0] += 60.0
    assert slot.foreign == ""
