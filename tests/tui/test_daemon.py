"""The double of the daemon: the real client reads from it what tests put in."""

import contextlib
import errno
import itertools
import os
import random
import threading

import pytest

from reconciler.client import Client
from reconciler.client.gateway import Gateway
from reconciler.model.errors import ApiError
from reconciler.model.status import Status
from tests.api.daemon import FACTS, ROAD
from tests.eventually import eventually
from tests.tui import worlds
from tests.tui.daemon import Daemon
from tests.tui.spoiled import GARBAGE, spoiled
from tui.view.world import World


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "sock", worlds.status(3, 1), events=worlds.events(worlds.status(3, 1), 5)) as served:
        yield served


@pytest.mark.parametrize("name", worlds.WORLDS)
def test_what_is_put_in_comes_out(daemon, name):
    world: World = worlds.WORLDS[name]()
    for machine in world.machines.values():
        if machine.status is not None:
            daemon.publish(machine.status, machine.live)
            assert daemon.client.status() == machine.status
            assert next(daemon.client.live()) == machine.live


def test_a_hostile_status_comes_through_as_it_is(daemon):
    through = 0
    for seed in range(60):
        sent = spoiled(Status, random.Random(seed))
        daemon.publish(sent)
        with contextlib.suppress(ApiError):
            through += repr(daemon.client.status()) == repr(sent)
    assert through > 30


@pytest.mark.parametrize("line", GARBAGE, ids=lambda line: repr(line[:20]))
def test_what_cannot_be_understood_is_said_in_words(daemon, line):
    daemon.publish_raw(0, line)
    with pytest.raises(ApiError, match=r"cannot understand|it ended"):
        next(daemon.client.statuses())


def test_a_name_that_nothing_can_have_is_asked_for_all_the_same(daemon):
    name = "\udc80/.."
    with pytest.raises(ApiError, match="no such path"):
        daemon.client.about(name)
    assert "will stop" in daemon.client.stop(name)
    assert daemon.client.metrics(name) == ()


def test_streams_go_on_with_what_is_published(daemon):
    first, second = worlds.status(3, 1), worlds.status(4, 1)
    stream = daemon.client.statuses()
    assert next(stream) == first
    daemon.publish(second)
    assert next(stream) == second


def test_events_are_paged_and_followed(daemon):
    known = worlds.events(worlds.status(3, 1), 6)
    assert daemon.client.events(limit=2, newest=True) == list(known[3:5])
    stream = daemon.client.follow_events(since=3)
    assert list(itertools.islice(stream, 2)) == list(known[3:5])
    daemon.happen(known[5])
    assert next(stream) == known[5]


def test_what_is_ordered_is_kept_and_what_is_refused_is_told(daemon):
    assert daemon.client.scale("chat", 3) == "chat: will scale"
    assert daemon.client.apply(prune=True) == "the fleet: will apply"
    assert daemon.asked == [("scale", "chat", {"replicas": 3}), ("apply", "", {"prune": True})]
    daemon.refusals["stop"] = (409, "not now")
    with pytest.raises(ApiError, match="not now"):
        daemon.client.stop("chat")


def test_logs_are_read_by_pages(daemon):
    daemon.write("chat/0", b"one\ntwo\n")
    daemon.write("chat/0", b"three\n", run=2)
    page = daemon.client.log_page("chat", run=1, size=4)
    assert (page.at, page.end, page.newest, page.data) == (4, 8, 2, b"two\n")
    assert daemon.client.log_page("chat", run=1, at=4, back=True).data == b"one\n"
    assert b"".join(daemon.client.log("chat")) == b"three\n"
    threading.Timer(0.05, daemon.write, ("chat/0", b"four\n"), {"run": 2}).start()
    assert daemon.client.log_page("chat", at=6, wait=5).data == b"four\n"


def test_plans_and_facts_come_through(daemon):
    assert daemon.client.road() == ROAD
    assert daemon.client.facts() == FACTS


def test_it_can_break_off_and_be_there_again(daemon):
    stream = daemon.client.statuses()
    next(stream)
    daemon.close()
    with pytest.raises(ApiError, match="lost the daemon"):
        next(stream)
    with pytest.raises(ApiError, match="nothing listens there"):
        daemon.client.status()
    daemon.start()
    assert daemon.client.status() == worlds.status(3, 1)
    eventually(lambda: daemon.connected == 0)


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EMFILE, "this program has as many files"), (errno.ENFILE, "this machine has as many")]
)
def test_who_runs_out_of_descriptors_is_told_that_and_not_of_a_lost_daemon(daemon, number, said):
    class Crowded(Client):
        def _connected(self):
            raise OSError(number, os.strerror(number))

    with pytest.raises(ApiError, match=f"cannot ask the daemon.*{said}"):
        Crowded(daemon.path).status()
    told = str(Gateway("http://127.0.0.1:8642", {}).lost(OSError(number, os.strerror(number))))
    assert "cannot ask the gateway" in told
    assert said in told


def test_it_can_hang(daemon):
    daemon.hung.set()
    with pytest.raises(ApiError, match="did not answer"):
        Client(daemon.path, timeout=0.1).status()
    threading.Timer(0.05, daemon.hung.clear).start()
    assert daemon.client.status() == worlds.status(3, 1)


def test_fleets_have_models_in_all_states_and_every_figure_moves():
    status = worlds.status()
    states = {replica.state for row in status.workloads.values() for replica in row.replicas}
    assert states == {"ready", "starting", "exited", "absent", "asleep", "draining", "unknown", "failing"}
    assert any(gpu.cordoned for gpu in status.gpus)
    assert any(not share.ours for gpu in status.gpus for share in gpu.shares)
    for gpu in status.gpus:
        assert sum(share.memory for share in gpu.shares) <= gpu.memory
    one, other = worlds.live(status, 1), worlds.live(status, 2)
    assert [uuid for uuid in one.meters if one.meters[uuid] == other.meters[uuid]] == []
    assert [name for name in one.traffic if one.traffic[name] == other.traffic[name]] == []
