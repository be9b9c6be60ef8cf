"""The settings of a workload are canonical, and the same as ever: a fingerprint that changes restarts a fleet."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from reconciler.engines.written import settings
from reconciler.model.fields import Spec, change_class
from reconciler.model.kinds import Engine, Model, Service, Workable

WORDS = st.text('ab{}é"\\ \n\U0001f600', max_size=5)
NAMES = st.sampled_from(["a", "b-1", "x" * 63])
SIZES = st.sampled_from([0, 1, 1024, "1024", "1KiB", "1024B", "18GiB", "1.5GiB"])
DURATIONS = st.sampled_from([5, 0.1, "5s", "5000ms", "2m", "120s", "1h30m", "10s", "90s"])


def mapping(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(["A", "B_2", "é", "z"]), values, max_size=3)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


ENV = mapping(WORDS | st.integers() | st.booleans() | st.just({"secret": "s"}))
LABELS = mapping(WORDS | st.integers(-5, 5) | st.booleans() | st.floats(0, 9))
PARAMS = mapping(
    st.recursive(
        WORDS | st.integers(-9, 9) | st.none() | st.floats(-9, 9), lambda x: st.lists(x, max_size=2) | mapping(x)
    )
)
RUNS = {
    "apiVersion": st.just("holdfast/v1"),
    "labels": LABELS,
    "runtime": st.sampled_from(["auto", "process"]),
    "gpus": st.none()
    | st.integers(0, 64)
    | some(
        count=st.integers(0, 2),
        memory=SIZES,
        model=st.sampled_from(["H100", "H100|H200"]),
        ids=st.lists(NAMES, max_size=2),
        share=st.booleans(),
    ),
    "memory": st.just("auto") | SIZES,
    "env": ENV,
    "replicas": st.integers(0, 2) | some(min=st.integers(0, 1), max=st.none() | st.integers(1, 2)),
    "priority": st.sampled_from([0, 100, 1000]),
    "health": some(
        path=st.none() | st.just("/x"),
        interval=DURATIONS,
        timeout=DURATIONS,
        failures=st.integers(1, 4),
        start=st.just("auto") | DURATIONS,
        inference=st.none() | DURATIONS,
    ),
    "update": some(strategy=st.just("replace"), drain=DURATIONS, grace=DURATIONS),
    "nodes": LABELS,
    "paused": st.booleans(),
}
COMMANDS = st.lists(WORDS | st.integers(0, 9), min_size=1, max_size=3)
MODELS = st.builds(
    lambda name, source, more: Model.model_validate({"kind": "Model", "name": name, "source": source, **more}),
    NAMES,
    st.sampled_from(["hf:o/r", "file:x.gguf", "https://é/x"]),
    some(
        **RUNS,
        engine=st.none() | st.just("vllm"),
        context=st.none() | st.integers(1, 9),
        parallel=st.none() | st.integers(1, 9),
        dtype=st.none() | st.just("f16"),
        tensor_parallel=st.none() | st.just(1),
        adapters=st.lists(st.just({"name": "l", "source": "hf:o/l"}), max_size=2),
        params=PARAMS,
        args=st.lists(WORDS | st.integers(0, 9) | st.floats(0, 1), max_size=3),
        aliases=st.lists(NAMES, max_size=2),
    ),
)
SERVICES = st.builds(
    lambda name, command, more: Service.model_validate({"kind": "Service", "name": name, "command": command, **more}),
    NAMES,
    COMMANDS,
    some(**RUNS, port=st.none() | st.integers(1, 9), directory=st.none() | st.just("/x")),
)
ENGINES = st.none() | st.builds(
    lambda name, command, more: Engine.model_validate({"kind": "Engine", "name": name, "command": command, **more}),
    NAMES,
    COMMANDS,
    some(labels=LABELS, env=ENV, health=st.sampled_from(["/health", "/x"]), params=PARAMS, cpu=st.booleans()),
)


def ordered(spec: Spec) -> Spec:
    """The same resource, written with its mappings in order: pydantic writes them as they are."""
    maps = {name: dict(sorted(value.items())) for name, value in spec.__dict__.items() if isinstance(value, dict)}
    return spec.model_copy(update={name: value for name, value in maps.items() if name in spec.model_fields_set})


def dumped(spec: Spec, *change: str) -> str:
    left_out = {name for name in type(spec).model_fields if change_class(type(spec), name) not in change}
    return ordered(spec).model_dump_json(exclude=left_out, exclude_defaults=True)


@hypothesis_settings(max_examples=400)
@given(MODELS | SERVICES, ENGINES, st.booleans())
def test_settings_are_what_pydantic_writes_without_defaults(
    spec: Workable, engine: Engine | None, attaches: bool
) -> None:
    restart, live = dumped(spec, "restart", *([] if attaches else ["engine"])), dumped(spec, "live")
    by = dumped(engine, "restart") if engine is not None else "{}"
    place = "/d" if isinstance(spec, Model) and spec.source.startswith("file:") else ""
    digests = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in (restart + by + place, live)]
    assert settings(spec, engine, "/d", attaches=attaches) == (f"[{restart},{live},{by}]", *digests)


CHAT = {
    "kind": "Model",
    "name": "chat",
    "source": "file:é.gguf",
    "engine": "llamacpp",
    "memory": "2048MiB",
    "args": ["--threads", 4],
    "env": {"B": True, "A": {"secret": "hf-token"}},
    "aliases": ["chat-latest"],
    "health": {"interval": "10s", "timeout": "3s"},
    "replicas": {"min": 0},
    "labels": {"team": 1},
    "priority": 100,
}
STORE = {"kind": "Service", "name": "store", "command": ["qdrant", "{port}"], "gpus": {}, "health": {}, "paused": True}


@pytest.mark.parametrize(
    ("spec", "text", "digests"),
    [
        (
            Model.model_validate(CHAT),
            '[{"name":"chat","memory":"2GiB","env":{"A":{"secret":"hf-token"},"B":"true"},"source":"file:é.gguf",'
            '"engine":"llamacpp","args":["--threads","4"]},{"labels":{"team":"1"},"replicas":{"min":0},'
            '"health":{"interval":"10s"},"aliases":["chat-latest"]},{}]',
            "a08afbb218221138:6a961a6ed2e9af30",
        ),
        (
            Service.model_validate(STORE),
            '[{"name":"store","gpus":{},"command":["qdrant","{port}"]},{"paused":true},{}]',
            "87a4610b9eda2fae:14e5d0cdca879e82",
        ),
    ],
    ids=["a model", "a service"],
)
def test_fingerprints_are_those_of_every_version_before(spec: Workable, text: str, digests: str) -> None:
    made, *hashes = settings(spec, None, "/d")
    assert (made, ":".join(hashes)) == (text, digests)
