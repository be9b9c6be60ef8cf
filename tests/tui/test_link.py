"""What is known of a machine whose daemon comes, hangs and goes."""

from dataclasses import replace

import pytest

from reconciler.client import Client
from reconciler.model.live import Live
from tests.api.daemon import Recorder, served
from tests.eventually import eventually
from tests.tui import worlds
from tests.tui.daemon import Daemon
from tui.link import STILL, Link


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "s.sock")


@pytest.fixture
def link(path):
    made = Link("box1", Client(path, timeout=0.5), lambda: None, every=0.2)
    made.start()
    yield made
    made.close()


def test_a_daemon_is_read_and_one_that_goes_and_comes_back_is_read_again(path, link):
    eventually(lambda: "nothing listens there" in link.machine.away, what="it is not there yet")
    for _ in range(2):
        with served(Recorder(), path):
            eventually(lambda: link.machine.status and link.machine.live and not link.machine.away, what="it is read")
        eventually(lambda: link.machine.away, what="it is missed")
        assert link.machine.lost > 0
        assert link.machine.status is not None, "what it said last is kept"


def test_a_daemon_that_hangs_is_missed_and_one_that_goes_on_is_not(path, link):
    recorder = Recorder()
    with served(recorder, path):
        eventually(lambda: link.machine.live, what="it is read")
        recorder.silent_at = 0.0
        eventually(lambda: "did not answer within" in link.machine.away, what="it is missed")
        recorder.silent_at = 1e9
        eventually(lambda: not link.machine.away, what="it is read again")


def test_the_events_of_a_daemon_that_began_to_count_anew_are_read(path):
    old = [replace(each, seq=each.seq + 1000) for each in worlds.events(worlds.status(3, 1))]
    new = worlds.events(worlds.status(3, 1))
    with Daemon(path, events=old) as daemon:
        link = Link("box1", daemon.client, lambda: None)
        link.start()
        try:
            eventually(lambda: link.machine.events == tuple(old), what="they are read")
            daemon.close()
            daemon._events = list(new)
            daemon.start()
            eventually(lambda: link.machine.events == tuple(new), what="those are read")
        finally:
            link.close()


def test_a_daemon_of_which_one_stream_cannot_be_read_stays_away_while_the_other_goes_on(path):
    of = worlds.status(3, 1)
    seen: list[str] = []
    with Daemon(path, of) as daemon:
        link = Link("box1", daemon.client, lambda: seen.append(link.machine.away))
        link.start()
        try:
            eventually(lambda: link.machine.status and link.machine.live, what="it is read")
            daemon.publish_raw(0, b'{"host": "of another time"}')
            eventually(lambda: "another version" in link.machine.away, what="it is not understood")
            seen.clear()
            for tick in range(1, 6):
                live = worlds.live(of, tick)
                daemon.publish(live=live)
                eventually(lambda live=live: link.machine.live == live, what="it is read")
            assert all("another version" in away for away in seen)
            assert link.machine.status == of, "what it said last is kept"
            daemon.publish(of)
            eventually(lambda: not link.machine.away, what="it is understood again")
        finally:
            link.close()


def test_while_nothing_but_the_time_changes_it_wakes_seldom(path):
    of = worlds.status(3, 1)
    now = 100.0
    woken: list[Live | None] = []
    with Daemon(path, of, events=worlds.events(of)) as daemon:
        link = Link("", daemon.client, lambda: woken.append(link.machine.live), clock=lambda: now)

        def told(live: Live) -> bool:
            """Whether it was woken for that."""
            daemon.publish(live=live)
            eventually(lambda: link.machine.live == live, what="it is read")
            daemon.publish(live=replace(live, now=live.now + 0.1))
            eventually(lambda: link.machine.live != live, what="whatever it does then is done")
            return live in woken

        daemon.publish(live=worlds.live(of, 1))
        link.start()
        try:
            eventually(lambda: link.machine.live and link.machine.status and link.machine.events)
            assert told(worlds.live(of, 2))
            assert told(worlds.live(of, 3, still=True)), "it is another one"
            assert not any(told(worlds.live(of, tick, still=True)) for tick in range(4, 9))
            now += STILL
            assert told(worlds.live(of, 9, still=True)), "ages go on"
            assert told(worlds.live(of, 10))
        finally:
            link.close()
