"""What a real daemon tells of one workload beside how it does: its file, what was started, how its runs ended."""

import os
import signal
import time

import pytest

from reconciler.model.errors import ApiError
from tests.eventually import eventually

pytestmark = pytest.mark.system


def runs(box, name):
    return [(one.run, one.outcome, one.first_failure) for one in box.client.about(name).runs]


def test_a_crash_loop_is_told_run_by_run_by_the_next_daemon_too(box):
    box.service("loops", "sh", "-c", "echo no such file; exit 3")
    began = time.time()
    box.daemon()
    failed = "exited with status 3 (no such file)"
    first = [(2, failed, False), (1, failed, True)]
    eventually(lambda: runs(box, "loops")[-2:] == first, what="two runs have ended")
    box.kill()
    box.daemon()
    eventually(lambda: runs(box, "loops")[-2:] == first, what="the next daemon tells the same")
    for one in box.client.about("loops").runs[-2:]:
        assert one.size == len("no such file\n")
        assert began - 1 < one.began <= one.ended < time.time() + 1


def test_one_that_runs_is_told_with_its_file_and_its_launch_and_no_secret(box):
    (box.state / "secrets").mkdir(parents=True, mode=0o700)
    box.state.chmod(0o700)
    (box.state / "secrets" / "hub").write_text("hush-hush")
    (box.state / "secrets" / "hub").chmod(0o600)
    text = "# its purpose\nkind: Service\nname: tiny\ncommand: [sleep, infinity]\nenv: {TOKEN: {secret: hub}, A: b}"
    box.write("a.yaml", f"kind: Service\nname: other\ncommand: [sleep, infinity]\n---\n{text}\n")
    box.daemon()
    box.converged("tiny", "other")
    about = box.client.about("tiny")
    (written,) = about.written
    assert (written.path, written.line, written.text) == ("fleet.d/a.yaml", 5, text)
    (launched,) = about.launches
    assert (launched.slot, launched.run, launched.argv) == ("tiny/0", 1, ("sleep", "infinity"))
    assert launched.env == {"A": "b", "TOKEN": "{secret: hub}"}
    assert "hush" not in repr(about)
    (run,) = about.runs
    assert (run.outcome, run.ended) == ("runs", None)
    assert 0 <= time.time() - run.began < 60

    os.kill(box.replica("tiny/0").pid, signal.SIGKILL)
    eventually(lambda: runs(box, "tiny")[:1] == [(2, "runs", False)], what="it runs again")
    eventually(lambda: runs(box, "tiny")[1] == (1, "was killed by signal 9", True), what="how the first one ended")
    with pytest.raises(ApiError, match="cannot tell of nobody: it is not in the fleet") as caught:
        box.client.about("nobody")
    assert caught.value.status == 404
