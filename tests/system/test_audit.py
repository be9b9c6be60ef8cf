"""Who did what stands in the audit, whatever becomes of the daemon, and where it cannot stand there little is done."""

import json
import os
import subprocess

import pytest

from reconciler.model.errors import ApiError

pytestmark = pytest.mark.system


def lines(box) -> list[dict]:
    return [json.loads(line) for line in (box.state / "audit.log").read_text().splitlines()]


def test_orders_are_on_record_over_kills_of_the_daemon_and_verified(box):
    box.service("one")
    box.daemon()
    box.converged("one")
    assert box.cli("scale", "one", "2").returncode == 0
    box.kill()
    box.daemon()
    box.converged("one")
    asked = subprocess.Popen(["true"]).pid  # a process that is not who asks
    assert box.cli("stop", "one").returncode == 0
    first, outcome, second, _ = lines(box)
    assert (first["verb"], first["subject"], first["arguments"]) == ("scale", "one", {"replicas": 2})
    assert (first["user"], first["uid"]) == ("root" if os.getuid() == 0 else first["user"], os.getuid())
    assert first["pid"] not in (os.getpid(), asked, box.process.pid)
    assert (outcome["of"], outcome["outcome"]) == (
        1,
        "one will run 2 replicas until fleet.d/one.yaml:1 says another number",
    )
    assert (second["verb"], second["seq"]) == ("stop", 3)
    box.told("asked: stop one; ", "; audit 4:", subject="one")
    verified = box.cli("audit", "--verify")
    assert verified.returncode == 0, verified.stderr
    assert "4 lines, each follows from the one before" in verified.stdout
    assert "2 events agree" in verified.stdout
    log = box.log.read_text()
    assert f"audit 4:{lines(box)[-1]['hash'][:16]}" in log, "the head stands in the log too, which others keep"


def test_where_nothing_can_be_recorded_only_stop_and_pause_are_done(box):
    box.state.mkdir()
    (box.state / "audit.log").mkdir()  # nothing can be written to it
    box.service("one")
    box.daemon()
    box.converged("one")
    before = box.pids()
    for ask in (lambda: box.client.restart("one"), lambda: box.client.scale("one", 2), box.client.apply):
        with pytest.raises(ApiError, match=r"cannot record it in .*/audit.log: is a directory; nothing was done"):
            ask()
    assert box.pids() == before
    box.told("asked: restart one; refused: cannot record it", subject="one")
    box.client.pause("one")
    box.told("asked: pause one; done all the same: cannot record it", subject="one")
    assert box.row("one").paused
    (box.state / "audit.log").rmdir()
    box.client.resume("one")
    assert [one.get("verb") for one in lines(box)] == ["resume", None]
