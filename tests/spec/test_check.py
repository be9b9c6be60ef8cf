"""What a person is told: one message for each mistake, at its place, with what to do and without secrets."""

from textwrap import dedent

import pytest

from tests.spec.place import read

BASE = "kind: Model\nname: chat\nsource: hf:org/repo\n"


def told(text: str) -> list[str]:
    return [str(problem).removeprefix("f.yaml:") for problem in read(text.encode(), "f.yaml").problems]


MESSAGES = {
    "priority: 5000": "4:11: priority: cannot be 5000; choose 0–1000",
    "gpuz: 1": "4:1: gpuz: cannot be understood; did you mean gpus?",
    "xyzzy: 1": "4:1: xyzzy: cannot be understood; remove it",
    "gpus: '1'": "4:7: gpus: cannot be '1' (text); write a number, or a mapping of count, memory, model, ids, share",
    "gpus: [1]": "4:7: gpus: cannot be a list; write a number, or a mapping of count, memory, model, ids, share",
    "gpus: 65": "4:7: gpus: cannot be 65; choose 0–64",
    "gpus: true": "4:7: gpus: cannot be true; write a number, or a mapping of count, memory, model, ids, share",
    "gpus: {count: '1'}": "4:15: gpus.count: cannot be '1' (text); write a number",
    "gpus: {cuont: 1}": "4:8: gpus.cuont: cannot be understood; did you mean count?",
    "memory: lots": "4:9: memory: cannot be 'lots'; write a size such as 18GiB, or a number of bytes; or auto",
    "memory: {a: 1}": "4:9: memory: cannot be a mapping; write a size such as 18GiB, or a number of bytes; or auto",
    "replicas: 5000": "4:11: replicas: cannot be 5000; choose 0–1000",
    "replicas: {min: 4, max: 2}": "4:25: replicas.max: cannot be 2, below min 4; choose 4 or more",
    "replicas: {min: 1, target_queue: 0}": "4:34: replicas.target_queue: cannot be 0; choose 1–10000",
    "preemption: always": "4:13: preemption: cannot be 'always'; write lower or never",
    "idle_action: nap": "4:14: idle_action: cannot be 'nap'; write stop or sleep",
    "runtime: bare": "4:10: runtime: cannot be 'bare'; write auto, process, systemd or docker",
    "runtime: {docker: {image: A B}}": "4:27: runtime.docker.image: cannot be 'A B'; write an image such as "
    "vllm/vllm-openai:v0.11.0",
    "runtime: {docker: {volumes: [here]}}": "4:30: runtime.docker.volumes.0: cannot be 'here'; write /path:/path, "
    "/path:/path:ro or volume-name:/path",
    "runtime: {docker: {imag: x}}": "4:20: runtime.docker.imag: cannot be understood; did you mean image?",
    "image: x": "4:1: image: cannot stand here; write runtime: {docker: {image: …}}",
    "update: {strategy: recreate}": "4:20: update.strategy: cannot be 'recreate'; write surge or replace",
    "health: {interval: 5x}": "4:20: health.interval: cannot be '5x'; write a duration such as 90s or 10m, or a number "
    "of seconds, up to a year",
    "health: {timeout: 1ms}": "4:19: health.timeout: cannot be '1ms'; choose 50ms or more",
    "health: {start: soon}": "4:17: health.start: cannot be 'soon'; write a duration such as 90s or 10m, or a number "
    "of seconds, up to a year; or auto",
    "health: 5": "4:9: health: cannot be 5; write a mapping",
    "args: --fast": "4:7: args: cannot be this text; write a list",
    "context: 1.5": "4:10: context: cannot be 1.5; write a number",
    "paused: yes": "4:9: paused: cannot be 'yes' (text); write true or false",
    "priority:": "4:10: priority: cannot be empty; write a number, or remove the line",
    "apiVersion: v2": "4:13: apiVersion: cannot be 'v2'; write holdfast/v1",
    "adapters: [{name: A, source: b}]": "4:19: adapters.0.name: cannot be 'A'; use a–z, 0–9 and '-', at most 63, with "
    "a letter or digit at both ends",
    "env: {TOKEN: {secrt: x, secret: y}}": "4:15: env.TOKEN.secrt: cannot be understood; did you mean secret?",
    "env: [A]": "4:6: env: cannot be a list; write a mapping",
}


@pytest.mark.parametrize(("line", "message"), MESSAGES.items())
def test_a_mistake_is_told_once_with_what_to_do(line: str, message: str) -> None:
    assert told(f"{BASE}{line}\n") == [message]


def test_all_mistakes_of_all_documents_are_told_at_once_in_order() -> None:
    text = dedent("""\
        kind: Model
        name: Big_Model
        gpuz: 1
        priority: 1001
        ---
        kind: Servce
        name: b
        ---
        kind: Service
        name: c
        command: []
        """)
    messages = told(text)
    assert [message.split(":")[:3] for message in messages] == [
        ["1", "1", " source"],
        ["2", "7", " name"],
        ["3", "1", " gpuz"],
        ["4", "11", " priority"],
        ["6", "7", " kind"],
        ["11", "10", " command"],
    ]
    assert all(": cannot " in message for message in messages)


def test_a_document_must_say_what_kind_it_is() -> None:
    known = "Model, Service, Engine, Node, Access, Route"
    assert told("name: x\n") == [f"1:1: kind: cannot be left out; write one of {known}"]
    assert told("kind: modle\nname: x\n") == ["1:7: kind: cannot be 'modle'; did you mean Model?"]
    assert told("kind: 5\n") == [f"1:7: kind: cannot be 5; write one of {known}"]
    assert told("kind: Job\nname: x\n") == [
        f"1:7: kind: cannot be Job yet: this version knows {known}; remove the document"
    ]
    assert told("- kind: Model\n") == ["1:1: cannot be a list; write a mapping: kind, name …"]
    assert told("just words\n") == ["1:1: cannot be a single value; write a mapping: kind, name …"]


SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"env: {{A: [{SECRET}]}}",
        f"env: {{A: {{secret: {SECRET}, x: {SECRET}}}}}",
        f"env: {SECRET}",
        f"env: {{'A=B': {SECRET}}}",
        f"args: {SECRET}",
        f"args: [[{SECRET}]]",
        f"params: {SECRET}",
        f"env: {{A: &x {SECRET}, B: *x}}",
        f"env: {{A: !!str {SECRET}}}",
        f"env: {{A: {SECRET}, A: {SECRET}}}",
        f"env: {{A: {SECRET}: x}}",
        f"env: {{A: '{SECRET}",
        f"source: https://user:{SECRET}@host/ x",
        f"dtype: '{SECRET} {'x' * 40}'",
        f"gpus: [{SECRET}]",
    ],
)
def test_no_message_shows_what_may_be_secret(text: str) -> None:
    body = BASE if not text.startswith("source") else BASE.replace("source: hf:org/repo\n", "")
    messages = told(f"{body}{text}\n")
    assert messages
    assert SECRET not in "\n".join(messages)


def test_a_message_obeys_no_escape_sequence_of_the_file() -> None:
    [message] = told(BASE + '"\\e[31mred": 1\n')
    assert "\x1b" not in message
    [message] = told(BASE + 'dtype: "\\e[31m"\n')
    assert "\x1b" not in message


def test_problems_name_the_workload_that_they_hold() -> None:
    found = read((BASE + "gpuz: 1\n---\nkind: Node\nname: local\nx: 1\n").encode(), "f")
    assert [problem.names for problem in found.problems] == [("chat",), ()]
    assert found.broken == (("runs", "chat"), ("nodes", "local"))
    assert not found.opaque


def test_a_document_cut_off_still_tells_its_name() -> None:
    found = read((BASE + "env: {A: 'b\n").encode(), "f")
    assert found.opaque
    assert [problem.names for problem in found.problems] == [("chat",)]


def test_an_engine_must_have_a_schema_that_is_one() -> None:
    engine = "kind: Engine\nname: mine\ncommand: [run]\nparams: "
    assert told(engine + "{type: objekt}\n") == [
        "4:16: params.type: cannot be a JSON Schema (draft 2020-12) like this; see json-schema.org"
    ]
    assert told(engine + "{$ref: 'http://example.com/s.json'}\n") == [
        "4:9: params: cannot refer to another document ($ref); write the schema out"
    ]
    assert told(engine + "{type: object, properties: {a: {type: integer}}}\n") == []


def test_a_document_of_many_mistakes_says_how_many_more_there_are() -> None:
    messages = told(BASE + "".join(f"k{index}: 1\n" for index in range(300)))
    assert len(messages) == 101
    assert any("200 more problems" in message for message in messages)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (
            "{running: a-b}",
            "4:20: metrics.running: cannot be 'a-b'; write the name of a metric, without labels",
        ),
        ("{runing: a}", "4:11: metrics.runing: cannot be understood; did you mean running?"),
        ("{path: metrics}", "4:17: metrics.path: cannot be 'metrics'; begin it with / and use no spaces"),
    ],
)
def test_metrics_of_an_engine_are_named_as_it_names_them(metrics: str, message: str) -> None:
    assert told(f"kind: Engine\nname: mine\ncommand: [run]\nmetrics: {metrics}\n") == [message]


def test_what_is_lacking_for_a_misspelt_key_is_told_once() -> None:
    sorce = "4:1: sorce: cannot be understood; did you mean source?"
    assert told("kind: Model\nname: chat\npriority: 5\nsorce: hf:o/m\n") == [sorce]
    [lacking, unlike] = told("kind: Model\nname: chat\nx: hf:o/m\n")
    assert "source: cannot be left out" in lacking
    assert "x: cannot be understood; remove it" in unlike
    assert len(told("kind: Model\nname: chat\nsorce: hf:o/m\nsource: 7\n")) == 2
