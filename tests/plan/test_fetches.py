"""Weights that are not on the machine: what is fetched, who waits for it, and what becomes of what runs meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from reconciler import engines
from reconciler.model.memory import Memory
from reconciler.model.observation import Instance, Observation, Unknown
from reconciler.model.plan import Attach, Fetch, Start
from reconciler.model.secret import Secret
from reconciler.model.source import Problem
from reconciler.model.status import Reason
from reconciler.model.stored import Absent, FetchFailure, Fetching, Here, Looking, Stored
from reconciler.plan.happenings import arrivals
from reconciler.plan.road import road
from reconciler.plan.summary import Pass, summarise
from tests.plan.stories import headers, told
from tests.plan.world import GIB, NOW, decide, fleet, gpu, instance, machine

CHAT = "kind: Model\nname: chat\nsource: hf:Qwen/Qwen3-8B\nengine: vllm\ngpus: 1\nmemory: 20GiB\n"
NEWER = CHAT.replace("Qwen3-8B", "Qwen4-8B")
EMBED = "---\nkind: Model\nname: embed\nsource: https://h/e.gguf\ngpus: 0\npriority: 200\n"
SMALL = "---\nkind: Model\nname: small\nsource: hf:o/small-GGUF\ngpus: 0\npriority: 50\n"
SOURCE, EMBED_SOURCE, SMALL_SOURCE = "hf:Qwen/Qwen3-8B", "https://h/e.gguf", "hf:o/small-GGUF/*.gguf"
BOXED, IMAGE = CHAT + "runtime: docker\n", "image:vllm/vllm-openai:latest"
HALF = Fetching(slot="chat/0", done=int(3.2 * GIB), total=int(16.1 * GIB))


def failed(reason: Reason, detail: str, *, at: float = NOW - 0.5, count: int = 1, after: float = 0.0) -> Absent:
    return Absent(failure=FetchFailure(at=at, count=count, reason=reason, detail=detail, after=after))


def on(sources: dict[str, Stored | Unknown], *running: str, of: str = CHAT) -> Observation:
    """A machine with one GPU, on which those run that are named, and what is known of these sources."""
    there = [instance(fleet(of), slot, port=9000, gpus=(gpu(0),)) for slot in running]
    return replace(machine(*there, gpus=(gpu(0),)), sources=sources)


@dataclass(frozen=True, kw_only=True)
class Case:
    situation: str
    fleet: str = CHAT
    on: Callable[[], Observation]
    plan: str


CASES = [
    Case(
        situation="weights that are not here are fetched, and nothing is started",
        on=lambda: on({SOURCE: Absent()}),
        plan="fetch chat/0 hf:Qwen/Qwen3-8B: NotFetched",
    ),
    Case(
        situation="how much there is to fetch is told where the headers have said it",
        fleet=CHAT.replace("20GiB", "auto"),
        on=lambda: replace(on({SOURCE: Absent()}), weights={SOURCE: headers(16)}),
        plan="fetch chat/0 hf:Qwen/Qwen3-8B 16.0 GiB: NotFetched",
    ),
    Case(
        situation="while they are on their way the start waits, and says how far they are",
        on=lambda: on({SOURCE: HALF}),
        plan="blocked chat/0: Fetching (fetching hf:Qwen/Qwen3-8B: 3.2 GiB of 16.1 GiB)",
    ),
    Case(
        situation="one fetch is enough for all replicas",
        fleet=CHAT + "replicas: 2\n",
        on=lambda: on({SOURCE: Absent()}),
        plan="""
            fetch chat/0 hf:Qwen/Qwen3-8B: NotFetched
            blocked chat/1: Fetching (fetching hf:Qwen/Qwen3-8B)
        """,
    ),
    Case(
        situation="two are fetched at once, by priority, and who waits is told for whom",
        fleet=CHAT + EMBED + SMALL,
        on=lambda: on({SOURCE: Absent(), EMBED_SOURCE: Absent(), SMALL_SOURCE: Absent()}),
        plan="""
            fetch embed/0 https://h/e.gguf: NotFetched
            fetch chat/0 hf:Qwen/Qwen3-8B: NotFetched
            blocked small/0: Waiting (waits to fetch hf:o/small-GGUF/*.gguf after hf:Qwen/Qwen3-8B, https://h/e.gguf)
        """,
    ),
    Case(
        situation="what is here is started from there",
        on=lambda: on({SOURCE: Here(path="/cache/it", size=GIB)}),
        plan="start chat/0 on gpu 0 port 9000: NotRunning",
    ),
    Case(
        situation="what runs goes on until what it is to become is here",
        fleet=NEWER,
        on=lambda: on({"hf:Qwen/Qwen4-8B": Absent()}, "chat/0"),
        plan="fetch chat/0 hf:Qwen/Qwen4-8B: NotFetched",
    ),
    Case(
        situation="what runs is left alone though its weights have been deleted",
        on=lambda: on({SOURCE: Absent()}, "chat/0"),
        plan="nothing to do",
    ),
    Case(
        situation="a fetch that failed waits, and says what a person can do",
        on=lambda: on({SOURCE: failed(Reason.SecretMissing, "cannot fetch it: give a token", after=300)}),
        plan="blocked chat/0: SecretMissing (cannot fetch it: give a token)",
    ),
    Case(
        situation="after the wait it is tried again",
        on=lambda: on({SOURCE: failed(Reason.FetchFailed, "HTTP 503", at=NOW - 2)}),
        plan="fetch chat/0 hf:Qwen/Qwen3-8B: NotFetched (HTTP 503)",
    ),
    Case(
        situation="the server's own wish counts for more than ours",
        on=lambda: on({SOURCE: failed(Reason.FetchFailed, "HTTP 429", at=NOW - 20, after=30)}),
        plan="blocked chat/0: FetchFailed (HTTP 429)",
    ),
    Case(
        situation="a fetch that nobody needs any more is cancelled",
        fleet=NEWER,
        on=lambda: on({SOURCE: HALF, "hf:Qwen/Qwen4-8B": Here(path="/n", size=1)}),
        plan="""
            cancel chat/0 hf:Qwen/Qwen3-8B: NotInFleet (nothing declared needs it any more)
            start chat/0 on gpu 0 port 9000: NotRunning
        """,
    ),
    Case(
        situation="the last model is gone, and its fetch with it",
        fleet="",
        on=lambda: on({SOURCE: HALF}),
        plan="cancel chat/0 hf:Qwen/Qwen3-8B: NotInFleet (nothing declared needs it any more)",
    ),
    Case(
        situation="a cache that cannot be seen is not taken to be empty",
        on=lambda: on({SOURCE: Unknown(reason="cannot look into /cache: Input/output error")}),
        plan="blocked chat/0: Unknown (cannot look into /cache: Input/output error; hf:Qwen/Qwen3-8B is not fetched "
        "until it can)",
    ),
    Case(
        situation="before the first look nothing is fetched and nothing is started",
        on=lambda: on({SOURCE: Looking()}),
        plan="blocked chat/0: Waiting (hf:Qwen/Qwen3-8B is looked for)",
    ),
    Case(
        situation="the image of a container is fetched as its weights are, both at once",
        fleet=BOXED,
        on=lambda: on({SOURCE: HALF, IMAGE: Absent()}),
        plan="fetch chat/0 image:vllm/vllm-openai:latest: NotFetched",
    ),
    Case(
        situation="a container is started once both are here",
        fleet=BOXED,
        on=lambda: on({SOURCE: Here(path="/cache/it", size=GIB), IMAGE: Here(path="sha256:1", size=GIB)}),
        plan="start chat/0 on gpu 0 port 9000: NotRunning",
    ),
    Case(
        situation="what runs goes on until the image of what it is to become is here",
        fleet=BOXED,
        on=lambda: on({SOURCE: Here(path="/cache/it", size=GIB), IMAGE: replace(HALF, total=None)}, "chat/0"),
        plan="blocked chat/0: Fetching (fetching image:vllm/vllm-openai:latest; chat/0 goes on as it was (runtime "
        "default → docker))",
    ),
    Case(
        situation="the fetch of an image that nothing needs any more is cancelled",
        on=lambda: on({SOURCE: Here(path="/cache/it", size=GIB), IMAGE: HALF}, "chat/0"),
        plan="cancel chat/0 image:vllm/vllm-openai:latest: NotInFleet (nothing declared needs it any more)",
    ),
    Case(
        situation="what no engine here can run is not fetched",
        on=lambda: replace(on({SOURCE: Absent()}), host=replace(machine().host, programs={})),
        plan="blocked chat/0: EngineMissing (cannot find vllm on PATH; install it, or choose an engine)",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.situation)
def test_plan(case: Case) -> None:
    expected = "\n".join(text.strip() for text in case.plan.strip().splitlines())
    assert str(decide(fleet(case.fleet), case.on())) == expected


def test_who_waits_for_weights_takes_no_place_from_others() -> None:
    low = "kind: Model\nname: low\nsource: file:/low\nengine: vllm\ngpus: 1\npriority: 1\n"
    both = fleet(low + "---\n" + CHAT)
    seen = on({SOURCE: HALF}, "low/0", of=low)
    assert "Preempted" not in str(decide(both, seen))
    arrived = replace(seen, sources={SOURCE: Here(path="/c", size=1)})
    assert "stop low/0: Preempted (for chat/0)" in str(decide(both, arrived))


def test_a_file_that_cannot_be_read_may_need_what_is_being_fetched() -> None:
    broken = fleet("", problems=(Problem(path="fleet.d/chat.yaml", message="is broken", names=("chat",)),))
    assert "cancel" not in str(decide(broken, on({SOURCE: HALF})))


def test_the_road_goes_through_the_fetch_and_ends_with_the_start() -> None:
    plans = road(fleet(CHAT), on({SOURCE: Absent()}), {}, Memory(), NOW)
    assert told(plans) == (
        "fetch chat/0 hf:Qwen/Qwen3-8B: NotFetched\nthen\n"
        "start chat/0 on gpu 0 port 9000: NotRunning\nthen\nnothing to do"
    )
    already = road(fleet(CHAT), on({SOURCE: HALF}), {}, Memory(), NOW)
    assert [action.kind for plan in already for action in plan.actions] == ["start"]


def test_a_fetch_in_flight_counts() -> None:
    asked = decide(fleet(CHAT), on({SOURCE: Absent()})).actions[0]
    more = fleet(CHAT + EMBED + SMALL)
    seen = on({SOURCE: Absent(), EMBED_SOURCE: Absent(), SMALL_SOURCE: Absent()})
    fetched = decide(more, seen, memory=Memory(in_flight={"chat/0": asked})).actions
    assert [action.slot for action in fetched] == ["embed/0"]


def test_the_token_is_the_models_own_or_the_nodes_and_in_no_text() -> None:
    node = "---\nkind: Node\nname: local\ncache: {path: /big, size: 100GiB, token: {secret: shared}}\n"
    made = decide(fleet(CHAT + node), on({SOURCE: Absent()}))
    (action,) = made.actions
    assert isinstance(action, Fetch)
    assert (action.token, action.cache, action.limit) == (Secret(secret="shared"), "/big", 100 * GIB)
    own = "env: {HF_TOKEN: {secret: mine}}\n"
    (action,) = decide(fleet(CHAT + own + node), on({SOURCE: Absent()})).actions
    assert isinstance(action, Fetch)
    assert action.token == Secret(secret="mine")
    plain = fleet(CHAT + "env: {HF_TOKEN: hf_canary}\n")
    assert "hf_canary" not in str(decide(plain, on({SOURCE: Absent()})))


def test_the_engine_is_told_the_path_and_the_fingerprint_knows_nothing_of_it() -> None:
    of = fleet(CHAT)
    (start,) = decide(of, on({SOURCE: Here(path="/cache/it", size=1)})).actions
    assert isinstance(start, Start)
    assert start.launch.argv[2] == "/cache/it"
    assert start.launch.files == ("/cache/it",)
    assert start.launch.fingerprint == of.workloads["chat"].fingerprint
    assert engines.fetched(of.workloads["chat"]) == (SOURCE,)


def test_the_status_tells_of_progress_and_not_of_a_stall() -> None:
    of, seen = fleet(CHAT), on({SOURCE: HALF})
    status = summarise(Pass(fleet=of, observation=seen, demand={}, plan=decide(of, seen), now=NOW), Memory()).status
    ready, moving, stalled = status.workloads["chat"].conditions
    assert (ready.status, moving.status, stalled.status) == ("False", "True", "False")
    assert moving.message == "fetching hf:Qwen/Qwen3-8B: 3.2 GiB of 16.1 GiB"
    assert ready.reason is Reason.Fetching
    assert not status.converged


def test_that_weights_have_come_is_told_once_and_of_what_was_here_already_nothing() -> None:
    of, here = fleet(CHAT), {SOURCE: Here(path="/c", size=16 * GIB)}
    before: list[dict[str, Stored | Unknown]] = [{SOURCE: HALF}, {SOURCE: Absent()}]
    for seen in before:
        assert [(told.subject, str(told.reason), told.message) for told in arrivals(seen, here, of)] == [
            ("chat", "Fetched", f"{SOURCE} is here, whole and checked: 16.0 GiB")
        ]
    assert arrivals(here, dict(here), of) == ()
    assert arrivals({SOURCE: Looking()}, here, of) == ()
    assert arrivals({SOURCE: HALF}, {SOURCE: HALF}, of) == ()


LORA = CHAT + "adapters: [{name: law, source: 'hf:o/law'}, {name: sql, source: 'hf:o/sql'}]\n"
LAW, HERE = "hf:o/law", Here(path="/c/chat", size=1)


def adapted(*names: str) -> Instance:
    """chat/0 with these of its adapters."""
    made = instance(fleet(LORA), "chat/0", port=9000, gpus=(gpu(0),))
    adapters = {name: f"hf:o/{name}" for name in names}
    return replace(made, launch=engines.with_adapters(made.launch, adapters))


def at(law: Stored, sql: Stored, *running: Instance) -> Observation:
    return replace(machine(*running, gpus=(gpu(0),)), sources={SOURCE: HERE, LAW: law, "hf:o/sql": sql})


SQL_HERE = Here(path="/c/sql", size=1)
ADAPTERS = {
    "a model starts with the adapters that are here, and waits for no other": (
        at(Absent(), SQL_HERE),
        "start chat/0 on gpu 0 port 9000: NotRunning",
    ),
    "an adapter that is not here is fetched while the model serves": (
        at(Absent(), SQL_HERE, adapted("sql")),
        "fetch chat/0 hf:o/law: NotFetched",
    ),
    "while it comes, that is told, and the others are attached": (
        at(HALF, SQL_HERE, adapted()),
        "attach chat/0 adapter sql: SpecChanged (hf:o/sql)",
    ),
    "while it comes, the model is not stuck": (
        at(HALF, SQL_HERE, adapted("sql")),
        "blocked chat/0: Fetching (fetching hf:o/law: 3.2 GiB of 16.1 GiB; chat/0 serves without law)",
    ),
    "once it is here it is attached": (
        at(Here(path="/c/law", size=1), SQL_HERE, adapted("sql")),
        "attach chat/0 adapter law: SpecChanged (hf:o/law)",
    ),
    "one that cannot be had leaves the model serving": (
        at(failed(Reason.SourceMissing, "HTTP 404", after=300), SQL_HERE, adapted("sql")),
        "blocked chat/0: SourceMissing (HTTP 404; chat/0 serves without law)",
    ),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters(name: str) -> None:
    seen, expected = ADAPTERS[name]
    assert str(decide(fleet(LORA), seen)) == expected


def test_an_engine_is_told_where_its_adapters_lie_and_which_are_not_here_is_not_forgotten() -> None:
    (start,) = decide(fleet(LORA), at(Absent(), SQL_HERE)).actions
    assert isinstance(start, Start)
    assert start.launch.adapters == {"sql": "hf:o/sql"}
    assert "sql=/c/sql" in start.launch.argv
    assert start.launch.files == ("/c/chat", "/c/sql")
    seen = at(Here(path="/c/law", size=1), SQL_HERE, replace(adapted("sql"), launch=start.launch))
    (attach,) = decide(fleet(LORA), seen).actions
    assert isinstance(attach, Attach)
    assert attach.requests[-1].body == {"lora_name": "law", "lora_path": "/c/law"}
    assert {"law=/c/law", "sql=/c/sql"} <= set(attach.launch.argv)
    assert attach.launch.files == ("/c/chat", "/c/sql", "/c/law")
