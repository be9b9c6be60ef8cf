"""What goes wrong around containers on a real Docker engine: labels that lie, hands, an engine that says nonsense."""

import asyncio
import json
import os
import re

import pytest

from reconciler.act.docker.api import Api
from reconciler.act.docker.images import Images
from reconciler.model.plan import Cancel, Fetch
from reconciler.model.status import Reason
from reconciler.model.stored import Absent, Fetching
from tests.dockerd import IMAGE
from tests.eventually import eventually, eventually_async
from tests.proxy import Proxy
from tests.registry import Registry
from tests.system.test_docker import contained

pytestmark = pytest.mark.system


@pytest.fixture
def liar(dockerd, monkeypatch):
    """What the daemon takes for the engine."""
    made = Proxy(f"{dockerd.place}/liar", str(dockerd.socket))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{made.path}")
    yield made
    made.close()


class Count:
    """A proxy's `lies` that counts what is asked by a pattern, and may answer it."""

    def __init__(self, pattern: str, answer: tuple[int, bytes] | None = None) -> None:
        self.asked = 0
        self._pattern, self._answer = re.compile(pattern), answer

    def __call__(self, line: str) -> tuple[int, bytes] | None:
        if not self._pattern.search(line):
            return None
        self.asked += 1
        return self._answer


LIST = r"GET .*/containers/json"


def test_labels_lead_nowhere_and_blind_nobody(box, dockerd):
    """Images carry labels too: whoever runs a stranger's image runs it with the labels that are in it."""
    contained(box, "one")
    victim = box.place / "python3.11"
    victim.mkdir()
    (victim / "os.py").write_text("precious")
    box.daemon()
    box.converged("one")
    labels = dockerd.one("holdfast-one-0")["Config"]["Labels"]
    record = json.loads(labels["holdfast.record"])
    record["launch"]["slot"] = "../../python3/11"
    worse = labels | {"holdfast.slot": "../../python3/11", "holdfast.record": json.dumps(record)}
    other = labels | {"holdfast.slot": "three/0"}
    box.kill()
    mine = {"holdfast.state": labels["holdfast.state"]}
    for number, each in enumerate((mine, mine | {"holdfast.slot": "a/b", "holdfast.token": "t"}, worse, other)):
        made = {"Image": IMAGE, "Cmd": ["sleep", "100000"], "Labels": each}
        dockerd.client.start(dockerd.client.create_container_from_config(made, f"stranger-{number}")["Id"])
    box.daemon()
    contained(box, "two")
    box.converged("one", "two")
    assert os.listdir(victim) == ["os.py"]
    assert len(box.status().workloads) == 2
    assert len([each for each in dockerd.containers() if each["State"]["Running"]]) == 6
    eventually(lambda: box.log.read_text().count("has labels of ours") == 3, what="it is logged once of each")


def test_a_container_made_of_a_commit_of_ours_is_somebody_elses(box, dockerd):
    """`docker commit` copies labels into the image, and `docker run` copies them into the container."""
    box.ports(21100)
    contained(box, "one")
    box.daemon()
    box.converged("one")
    dockerd.client.commit("holdfast-one-0", repository="debug", tag="1")
    try:
        made = dockerd.client.create_container_from_config({"Image": "debug:1", "Cmd": ["100000"]}, "debugging")
        dockerd.client.start(made["Id"])
        assert dockerd.one("debugging")["Config"]["Labels"]["holdfast.slot"] == "one/0"
        contained(box, "one", env={"STEP": "2"})
        eventually(lambda: box.replica("one/0").run == 2 and box.row("one").ready, what="ours is replaced")
        box.remove("one.yaml")
        box.converged()
        assert [(each["Name"], each["State"]["Running"]) for each in dockerd.containers()] == [("/debugging", True)]
    finally:
        dockerd.clear()
        dockerd.client.remove_image("debug:1", force=True)


def test_down_with_engines_ends_containers_too_or_says_which_not(box, dockerd, monkeypatch):
    contained(box, "one")
    box.service("beside")
    box.daemon()
    box.converged("one", "beside")
    with monkeypatch.context() as lost:
        lost.setenv("DOCKER_HOST", f"unix://{box.place}/none")
        told = box.cli("down", "--engines", "--state", str(box.state))
        assert (told.returncode, "one/0: cannot reach docker" in told.stderr) == (1, True), told.stderr
    told = box.cli("down", "--engines", "--state", str(box.state))
    assert (told.returncode, "stopped one/0" in told.stdout) == (0, True), told.stderr
    assert [each["State"]["Running"] for each in dockerd.containers()] == [False]


def test_one_renamed_by_hand_is_still_ours(box, dockerd):
    box.ports(21100)
    contained(box, "one")
    box.daemon()
    box.converged("one")
    before = dockerd.one("holdfast-one-0")["Id"]
    dockerd.client.rename(before, "mine")
    box.kill()
    box.daemon()
    box.converged("one")
    box.remove("one.yaml")
    box.converged()
    assert not [each for each in box.events("one/0") if "removed" in each.message]
    assert dockerd.containers() == []


@pytest.mark.parametrize(
    "answer",
    [
        (500, b'{"message": "layer does not exist"}'),
        (200, b'{"Id": "x", "State": {}, "HostConfig": {}, "Config": {}}'),
    ],
)
def test_one_that_the_engine_cannot_tell_of_hides_no_other(box, dockerd, liar, answer):
    contained(box, "bad")
    contained(box, "good")
    box.daemon()
    box.converged("bad", "good")
    before = dockerd.one("holdfast-bad-0")["Id"]
    box.kill()
    liar.lies = Count(f"containers/({before}|holdfast-bad-0)/json", answer)
    box.daemon()
    eventually(lambda: "docker says" in box.replica("bad/0").detail, what="it is unknown, and why")
    contained(box, "later")
    eventually(lambda: (now := box.row("later")) and now.ready, what="others are started")
    assert (box.replica("bad/0").state, box.replica("good/0").state) == ("unknown", "ready")
    assert not box.events("daemon"), "the engine itself is there"
    assert "Traceback" not in box.log.read_text()
    assert dockerd.one("holdfast-bad-0")["State"]["Running"]


def test_another_engine_at_the_address_starts_nothing_twice(box, dockerd, liar):
    """DOCKER_HOST was changed, or its data directory: what the one before runs still holds GPUs and ports."""
    contained(box, "one")
    box.daemon()
    box.converged("one")
    box.kill()
    none = Count(LIST, (200, b"[]"))
    liar.lies = lambda line: (
        none(line)
        or ((404, b'{"message": "No such container"}') if re.search(r"GET .*/containers/.+/json", line) else None)
    )
    box.daemon()
    eventually(lambda: "knows no such container" in box.replica("one/0").detail, what="it is unknown, and why")
    assert (box.replica("one/0").state, box.replica("one/0").run) == ("unknown", 1)
    assert len(dockerd.containers()) == 1


def test_a_stream_of_events_that_is_cut_says_nothing_of_the_engine(box, dockerd, liar):
    liar.lies = cut = Count("/events", (200, b"{}"))
    contained(box, "one")
    box.daemon()
    box.converged("one")
    eventually(lambda: cut.asked >= 4, what="it is tried again")
    assert not box.events("daemon")


def test_why_a_log_cannot_be_read_stands_in_it_once_and_docker_is_not_asked_with_every_look(box, dockerd, liar):
    """As of a driver that sends lines elsewhere; Docker says so anew however often it is asked."""
    why = b'{"message": "configured logging driver does not support reading"}'
    liar.lies = logs = Count(r"GET .*/containers/.+/logs", (501, why))
    look = Count(LIST)
    contained(box, "one", "sh", "-c", "echo hello; sleep 100000")
    box.daemon()
    box.converged("one")
    liar.lies = lambda line: look(line) or logs(line)
    eventually(lambda: look.asked >= 2, what="it is looked at again and again")
    told = "[holdfast: what it says cannot be read: docker says: configured logging driver does not support reading]\n"
    assert box.cli("logs", "one").stdout == told
    assert logs.asked == 1
    box.kill()
    box.daemon()
    eventually(lambda: logs.asked == 2, what="the next daemon asks anew")
    assert box.cli("logs", "one").stdout == told


def test_a_record_that_was_cut_off_and_of_which_docker_knows_nothing_is_begun_anew(box, dockerd):
    contained(box, "one")
    box.daemon()
    box.converged("one")
    box.kill()
    dockerd.clear()
    (box.state / "containers" / "one.0" / "launch.json").write_text("")
    box.daemon()
    box.converged("one")


def test_one_that_is_paused_is_not_ready_and_is_left_so(box, dockerd):
    contained(box, "one")
    box.daemon()
    box.converged("one")
    dockerd.client.pause("holdfast-one-0")
    eventually(lambda: "docker unpause holdfast-one-0" in box.replica("one/0").detail, what="status says it")
    assert (box.replica("one/0").state, box.row("one").ready) == ("unknown", 0)
    dockerd.client.unpause("holdfast-one-0")
    box.converged("one")
    assert box.replica("one/0").run == 1


def test_docker_is_given_no_restart_policy_by_hand(box, dockerd):
    """Two masters of one container would race each other."""
    contained(box, "one")
    box.daemon()
    box.converged("one")
    dockerd.client.update_container("holdfast-one-0", restart_policy={"Name": "always"})
    eventually(
        lambda: dockerd.one("holdfast-one-0")["HostConfig"]["RestartPolicy"]["Name"] == "no", what="it is put back"
    )


def test_an_engine_that_says_no_once_while_it_pulls_is_asked_for_nothing_twice(box, dockerd, liar):
    registry = Registry()
    try:
        contained(box, "slow", docker={"image": registry.image})
        liar.lies = pulls = Count("POST .*/images/create")
        box.daemon()
        eventually(lambda: (now := box.row("slow")) and "MiB of" in str(now.conditions), what="it is fetched")
        liar.lies = lambda line: pulls(line) or Count(LIST, (500, b'{"message":"busy"}'))(line)
        box.told("busy", subject="daemon")
        liar.lies = pulls
        box.told("no longer so", subject="daemon")
        registry.gate.set()
        box.converged("slow")
        assert pulls.asked == 1
        assert len([each for each in box.events("slow/0") if each.message.startswith("fetching")]) == 1
    finally:
        registry.close()


def test_a_fetch_that_stands_still_fails_in_the_end_and_can_be_cancelled(dockerd):
    registry = Registry()
    registry.drop = 0
    source = f"image:{registry.image}"

    async def fetch(images, *, until):
        images.want([source])
        await images.look()
        await images.perform(Fetch(source=source, slot="one/0", cache=None, reason=Reason.NotFetched))
        await eventually_async(lambda: until(images.known[source]), what="as it should")
        return images.known[source]

    async def both():
        images = Images(Api(), on_change=lambda: None, on_silence=lambda _: None, stall=0.5)
        known = await fetch(images, until=lambda stored: isinstance(stored, Absent))
        assert "has not answered in time" in known.failure.detail
        images = Images(Api(), on_change=lambda: None, on_silence=lambda _: None)
        await fetch(images, until=lambda stored: stored.done if isinstance(stored, Fetching) else 0)
        await images.perform(Cancel(source=source, slot="one/0", cache=None, reason=Reason.NotFetched))
        assert isinstance(images.known[source], Absent)

    try:
        asyncio.run(both())
        registry.drop = 1
        eventually(lambda: registry.hung_up, what="docker has let go of the registry")
    finally:
        registry.close()
