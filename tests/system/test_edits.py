"""Edits of files, as a person makes them while a real daemon runs."""

import pytest

from tests.eventually import eventually

pytestmark = pytest.mark.system


def test_each_edit_touches_what_it_changed_and_nothing_else(box):
    box.service("steady")
    box.service("edited")
    box.daemon()
    box.converged("steady", "edited")
    first = box.pids()

    box.service("edited", replicas=2)
    eventually(lambda: box.replica("edited/1"), what="a second one")
    box.converged("steady", "edited")
    second = box.pids()
    assert first.items() < second.items()

    box.service("edited", replicas=2, priority=300)
    box.told("SpecChanged", "updating", subject="edited/1")
    eventually(lambda: box.row("edited").priority == 300, what="the new priority")
    box.converged("steady", "edited")
    assert box.pids() == second

    box.service("edited", replicas=2, priority=300, env={"A": "1"})
    eventually(lambda: all(one.run == 2 for one in box.row("edited").replicas), what="both replaced")
    box.converged("steady", "edited")
    third = box.pids()
    assert third["steady/0"] == first["steady/0"]
    assert not {third["edited/0"], third["edited/1"]} & set(second.values())

    box.service("edited", replicas=1, priority=300, env={"A": "1"})
    eventually(lambda: box.replica("edited/1") is None, what="the second one gone")
    box.converged("steady", "edited")
    assert box.pids() == {slot: third[slot] for slot in ("steady/0", "edited/0")}


def test_a_broken_file_is_shown_where_it_is_broken_and_its_service_goes_on(box):
    box.service("one")
    box.daemon()
    box.converged("one")
    before = box.pids()
    box.write("one.yaml", "kind: Service\nname: one\ncommand: [sleep, '5']\nreplicaz: 2\n")
    problem = eventually(lambda: box.status().problems, what="a problem")[0]
    assert str(problem).startswith("fleet.d/one.yaml:4:1: ")
    assert "replicaz" in str(problem)
    box.told("SpecInvalid", "fleet.d/one.yaml:4:1")
    assert box.pids() == before
    box.service("one")
    eventually(lambda: not box.status().problems, what="it is good again")
    box.converged("one")
    assert box.pids() == before


def test_a_removed_file_stops_its_service_and_an_emptied_directory_stops_nothing(box):
    for name in ("one", "two", "three"):
        box.service(name)
    box.daemon()
    box.converged("one", "two", "three")
    before = box.pids()

    box.remove("one.yaml")
    eventually(lambda: box.row("one") is None and not box.engines("one/0"), what="one is gone")
    del before["one/0"]
    assert box.pids() == before

    for path in box.fleet.iterdir():
        path.unlink()
    box.told("cannot be believed: it holds no *.yaml file", subject="daemon")
    assert box.pids() == before
    assert box.status().degraded

    box.kill()
    box.daemon()
    held = eventually(lambda: box.stalled("two", "PruneNeedsConsent"), what="removal is held in the next life, too")
    assert "holdfast apply --prune" in held.message
    assert box.pids() == before
    box.client.apply(prune=True)
    eventually(lambda: not box.ours(), what="consented: all gone")
