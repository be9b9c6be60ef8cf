"""An action is carried out by the one method it means, and refused before it when what it needs is missing."""

import asyncio

import pytest

from reconciler.act.perform import perform
from reconciler.model.errors import TerminalError
from reconciler.model.kinds import SecretRef
from reconciler.model.plan import Drain, Forget, Start, Stop, Update
from reconciler.model.status import Reason
from tests.act.stage import launch


class Recorder:
    """Writes down what it is asked."""

    def __init__(self):
        self.asked = []

    async def start(self, launch, secrets):
        self.asked.append(("start", launch.slot, dict(secrets)))

    async def stop(self, slot, run, grace, reason):
        self.asked.append(("stop", slot, run, grace, reason))

    async def update(self, launch):
        self.asked.append(("update", launch.slot))

    async def forget(self, slot, run):
        self.asked.append(("forget", slot, run))


def no_secret(name):
    raise TerminalError(Reason.SecretMissing, f"cannot find secret {name}")


def do(action, secret=no_secret):
    runtime = Recorder()
    asyncio.run(perform(action, runtime, secret))
    return runtime.asked


def test_each_action_is_one_request():
    why = Reason.SpecChanged
    assert do(Start(slot="chat/0", launch=launch(), reason=why)) == [("start", "chat/0", {})]
    assert do(Stop(slot="chat/0", run=3, grace=2.0, reason=why)) == [("stop", "chat/0", 3, 2.0, why)]
    assert do(Update(slot="chat/0", launch=launch(), reason=why)) == [("update", "chat/0")]
    assert do(Forget(slot="chat/0", run=3, reason=why)) == [("forget", "chat/0", 3)]
    assert do(Drain(slot="chat/0", run=3, reason=why)) == []


def test_secrets_are_handed_over_by_name():
    order = launch(env={"A": SecretRef(secret="hf-token"), "B": "plain"})
    asked = do(Start(slot="chat/0", launch=order, reason=Reason.NotRunning), secret=lambda name: f"value of {name}")
    assert asked == [("start", "chat/0", {"hf-token": "value of hf-token"})]


def test_a_missing_secret_starts_nothing():
    order = launch(env={"A": SecretRef(secret="hf-token")})
    with pytest.raises(TerminalError, match="hf-token"):
        do(Start(slot="chat/0", launch=order, reason=Reason.NotRunning))


def test_a_missing_file_starts_nothing_and_is_named(tmp_path):
    from dataclasses import replace

    there = tmp_path / "a.gguf"
    there.write_text("")
    missing = str(tmp_path / "b.gguf")
    order = replace(launch(), files=(str(there), missing))
    with pytest.raises(TerminalError, match="no such file.*fleet.d/chat.yaml") as caught:
        do(Start(slot="chat/0", launch=order, reason=Reason.NotRunning))
    assert caught.value.reason is Reason.SourceMissing
    assert missing in str(caught.value)
