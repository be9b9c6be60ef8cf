"""An action is carried out by the one method it means, and refused before it when what it needs is missing."""

import asyncio
from dataclasses import replace

import pytest

from reconciler.act.perform import perform
from reconciler.model.errors import TerminalError, TransientError
from reconciler.model.plan import (
    Attach,
    Cancel,
    Detach,
    Drain,
    Fetch,
    Forget,
    Request,
    Sleep,
    Start,
    Stop,
    Update,
    Wake,
)
from reconciler.model.secret import Secret
from reconciler.model.status import Reason
from tests.act.stage import launch
from tests.observe.watching import engine, response, scenario


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

    async def fetch(self, action):
        self.asked.append((action.kind, action.source))


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
    assert do(Fetch(slot="chat/0", source="image:x:1", cache=None, reason=why)) == [("fetch", "image:x:1")]
    assert do(Cancel(slot="chat/0", source="image:x:1", cache=None, reason=why)) == [("cancel", "image:x:1")]
    assert do(Drain(slot="chat/0", run=3, reason=why)) == []


SQL = {"lora_name": "sql"}
GOES, COMES = Request(path="/go", body=SQL, within=20.0, also=(404,)), Request(path="/come", body=SQL, within=20.0)


async def changed(kind, server, *requests):
    """What is recorded after an engine was asked for these."""
    runtime, order = Recorder(), replace(launch(), engine="vllm", port=server.port)
    action = kind(slot="chat/0", adapter="sql", requests=requests, launch=order, reason=Reason.SpecChanged)
    try:
        await perform(action, runtime, no_secret)
    except TransientError as error:
        return runtime.asked, error.reason, str(error)
    return runtime.asked


@scenario
async def test_an_engine_is_asked_for_an_adapter_and_then_it_is_recorded():
    """A status that is as good as 2xx is no failure; what fails is recorded as it was, with the engine's own words."""
    async with engine() as server:
        server.by_path["/go"] = response("404 Not Found")
        assert await changed(Attach, server, GOES, COMES) == [("update", "chat/0")]
        assert await changed(Detach, server, GOES) == [("update", "chat/0")]
        assert server.asked[:2] == [("POST", "/go", '{"lora_name": "sql"}'), ("POST", "/come", '{"lora_name": "sql"}')]
        words = b'{"error":{"message":"rank 64\\u001b[2J is more than 16."}}'
        server.by_path["/come"] = response("400 Bad Request", words, "Content-Type: application/json")
        said = "vllm said 400 rank 64 [2J is more than 16"
        assert await changed(Attach, server, GOES, COMES) == ([], Reason.AdapterFailed, said)
        server.by_path["/go"] = response("500 Internal Server Error")
        asked = len(server.asked)
        assert (await changed(Attach, server, GOES, COMES))[2] == "vllm said 500 Internal Server Error"
        assert server.asked[asked:] == [("POST", "/go", '{"lora_name": "sql"}')]
        server.by_path["/go"] = None
        brief = replace(GOES, within=0.05)
        assert await changed(Detach, server, brief) == ([], Reason.AdapterFailed, "no answer in 50ms")


def told(kind, answer, within=20.0):
    """What an engine that answers so is told by an action of two requests."""

    async def story():
        async with engine(answer) as server:
            server.answer = answer
            order, word = replace(launch(), port=server.port), Request(path=f"/{kind.__name__}", body={}, within=within)
            words = (replace(word, path="/first"), word)
            try:
                await perform(
                    kind(slot="chat/0", requests=words, launch=order, reason=Reason.Idle), Recorder(), no_secret
                )
            finally:
                asked.extend(server.asked)

    asked = []
    asyncio.run(story())
    return [(method, path) for method, path, _ in asked]


def test_sleep_and_wake_are_asked_for_one_request_after_the_other():
    assert told(Sleep, response()) == [("POST", "/first"), ("POST", "/Sleep")]
    assert told(Wake, response()) == [("POST", "/first"), ("POST", "/Wake")]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (response("500 Internal Server Error"), "said 500 Internal Server Error"),
        (response("404 Not Found"), "said 404 Not Found"),
        (None, "no answer in 50ms"),
    ],
)
def test_an_engine_that_does_not_as_it_is_told_is_a_failure_in_its_words(answer, words):
    for kind, reason in ((Sleep, Reason.SleepFailed), (Wake, Reason.WakeFailed)):
        with pytest.raises(TransientError, match=words) as caught:
            told(kind, answer, within=0.05)
        assert caught.value.reason is reason


def test_secrets_are_handed_over_by_name():
    order = launch(env={"A": Secret(secret="hf-token"), "B": "plain"})
    asked = do(Start(slot="chat/0", launch=order, reason=Reason.NotRunning), secret=lambda name: f"value of {name}")
    assert asked == [("start", "chat/0", {"hf-token": "value of hf-token"})]


def test_a_missing_secret_starts_nothing():
    order = launch(env={"A": Secret(secret="hf-token")})
    with pytest.raises(TerminalError, match="hf-token"):
        do(Start(slot="chat/0", launch=order, reason=Reason.NotRunning))


def test_a_missing_file_starts_nothing_and_is_named(tmp_path):
    there = tmp_path / "a.gguf"
    there.write_text("")
    missing = str(tmp_path / "b.gguf")
    order = replace(launch(), files=(str(there), missing))
    with pytest.raises(TerminalError, match="no such file.*fleet.d/chat.yaml") as caught:
        do(Start(slot="chat/0", launch=order, reason=Reason.NotRunning))
    assert caught.value.reason is Reason.SourceMissing
    assert missing in str(caught.value)
