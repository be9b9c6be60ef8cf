"""The whole fleet is paused, with a real daemon and real processes: nothing is done, and what would be is shown.

Ports 24900–24909.
"""

import os
import signal

import pytest

from tests.eventually import eventually

pytestmark = pytest.mark.system


def said(box):
    """What the daemon says of its pause."""
    return box.status().paused


def waits(box, name, *words):
    """The condition of a workload that says what is held back, once it holds all these words."""
    found = box.stalled(name, "Paused")
    return found if found is not None and all(word in found.message for word in words) else None


def actions(box):
    """What would be done, pass by pass, as `chat/0` and what."""
    return [f"{action.kind} {action.slot}" for plan in box.client.road().passes for action in plan.actions]


def test_an_edit_is_seen_before_it_does_anything_and_done_when_the_fleet_is_resumed(box):
    box.service("kept")
    box.service("edited")
    box.service("gone")
    box.daemon()
    box.converged("kept", "edited", "gone")
    before = box.pids()

    assert "the fleet is paused" in box.cli("pause").stdout
    eventually(lambda: said(box), what="the status says that it is paused")
    assert box.status().converged, "nothing is to do yet"

    box.service("edited", env={"A": "1"})
    box.service("fresh")
    box.remove("gone.yaml")
    for name, word in (("edited", "stop edited/0: SpecChanged"), ("fresh", "start fresh/0"), ("gone", "NotInFleet")):
        eventually(lambda name=name, word=word: waits(box, name, word), what=f"{name} is held back")
    eventually(lambda: "3 actions" in said(box), what="the status counts what is held back")
    would = ["forget gone/0", "start edited/0", "start fresh/0", "stop edited/0", "stop gone/0"]
    assert sorted(actions(box)) == would
    shown = box.cli("plan").stdout
    assert "‖ the fleet is paused: this is what `holdfast resume` would do" in shown
    assert "3 to change" in shown
    looked = box.cli("apply", "--wait", "30s")
    assert (looked.returncode, looked.stderr.count("cannot converge: the fleet is paused")) == (1, 1)
    assert box.pids() == before, "and all that while nothing was done"

    assert "the fleet goes on" in box.cli("resume").stdout
    box.converged("kept", "edited", "fresh")
    after = box.pids()
    assert after["kept/0"] == before["kept/0"]
    assert after["edited/0"] != before["edited/0"]
    assert box.engines("gone/0") == []
    assert said(box) == ""


def test_what_dies_meanwhile_stays_down_and_says_why_in_the_next_life_of_the_daemon_too(box):
    box.service("tiny")
    box.service("other")
    box.write("node.yaml", "kind: Node\nname: local\ngateway: {listen: ['127.0.0.1:24900']}\n")
    box.daemon()
    box.converged("tiny", "other")
    other = box.pids()["other/0"]
    box.client.pause(None)
    eventually(lambda: said(box), what="it is paused")

    os.kill(box.replica("tiny/0").pid, signal.SIGKILL)
    held = eventually(lambda: waits(box, "tiny", "start tiny/0"), what="tiny is held back")
    assert "was killed by signal 9" in str(held)
    shown = box.cli("status")
    assert shown.returncode == 3
    assert "‖ the fleet is paused by command: 1 action is held back" in shown.stdout
    assert "tiny" in shown.stdout
    assert box.engines("tiny/0") == []

    box.kill()
    box.daemon()
    assert "the fleet is paused" in said(box)
    eventually(lambda: waits(box, "tiny", "start tiny/0"), what="tiny is held back by the next daemon, too")
    assert box.pids() == {"other/0": other}
    brought_up = box.cli("up", str(box.fleet), "--detach", "--wait", "60s")
    assert brought_up.returncode == 1
    assert "the fleet is paused" in brought_up.stderr
    assert box.pids() == {"other/0": other}

    box.client.resume(None)
    box.converged("tiny", "other")
    assert box.pids()["other/0"] == other


def test_what_is_ordered_meanwhile_is_refused_or_kept_for_later(box):
    box.service("tiny")
    box.daemon()
    box.converged("tiny")
    before = box.pids()
    box.client.pause(None)
    eventually(lambda: said(box), what="it is paused")
    refused = box.cli("restart", "tiny")
    assert (refused.returncode, refused.stderr) == (
        1,
        "holdfast: cannot restart tiny while the fleet is paused; `holdfast resume` first\n",
    )
    assert box.client.scale("tiny", 2) == (
        "tiny will run 2 replicas until fleet.d/tiny.yaml:1 says another number, once the fleet is resumed"
    )
    eventually(lambda: waits(box, "tiny", "start tiny/1"), what="the second one is held back")
    assert box.pids() == before
    box.client.resume(None)
    eventually(lambda: box.replica("tiny/1"), what="a second one")
    box.converged("tiny")
    assert box.pids()["tiny/0"] == before["tiny/0"]
