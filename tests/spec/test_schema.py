"""The JSON Schema says what the reader says, and explains every key."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from reconciler.spec.schema import FILE, fleet_schema, write
from tests.spec.place import read

ROOT = Path(__file__).parent.parent.parent
MODEL = {"kind": "Model", "name": "a", "source": "hf:o/r"}
ACCESS = {"kind": "Access", "name": "team", "keys": [{"sha256": "a" * 64}]}
ROUTE = {"kind": "Route", "name": "site", "hosts": ["llm.example.org"]}
SERVICE = {"kind": "Service", "name": "a", "command": ["x"]}


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = fleet_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


GOOD: list[dict[str, Any]] = [
    MODEL,
    {**MODEL, "apiVersion": "holdfast/v1"},
    {**MODEL, "gpus": 2},
    {**MODEL, "gpus": None},
    {**MODEL, "gpus": {"count": 2, "memory": "80GiB", "model": "H100|H200", "ids": ["0"], "share": False}},
    {**MODEL, "memory": "auto"},
    {**MODEL, "memory": "18.5GiB"},
    {**MODEL, "memory": 1024},
    {**MODEL, "replicas": {"min": 0, "max": 3}},
    {**MODEL, "env": {"A": "x", "B": 1, "C": True, "D": {"secret": "hf-token"}}},
    {**MODEL, "args": ["--x", 1, 0.5, True]},
    {**MODEL, "labels": {"a": 1, "b": "x"}},
    {**MODEL, "health": {"interval": "1m30s", "timeout": 0.5, "start": "auto", "inference": None}},
    {**MODEL, "update": {"strategy": "replace", "drain": 0}},
    {**MODEL, "preemption": "never", "replicas": {"min": 0, "idle": "90s", "target_queue": 2}},
    {**MODEL, "adapters": [{"name": "sql", "source": "hf:o/l"}]},
    {**MODEL, "params": {"anything": [1, {"at": "all"}]}},
    SERVICE,
    {**SERVICE, "port": 8080, "directory": "/srv"},
    {"kind": "Engine", "name": "e", "command": ["serve", "{source}"], "params": {"type": "object"}, "cpu": True},
    {
        "kind": "Node",
        "name": "local",
        "ports": "9000-9100",
        "reserved": "1GiB",
        "cache": {"path": "/c", "size": "1TiB"},
        "gateway": {"listen": ["127.0.0.1:80", "https://[::1]:443"], "workers": 2, "body": "1GiB", "wait": "90s"},
    },
    {**MODEL, "limits": {"requests_per_minute": 1}, "fallback": ["b"], "affinity": "prefix"},
    ACCESS,
    {**ACCESS, "keys": [{"sha256": "a" * 64, "expires": "2027-01-31", "note": "Ann"}], "roles": ["admin"]},
    {**ACCESS, "models": ["chat", "embed-*"], "limits": {"tokens_per_day": 5}, "priority": 0},
    ROUTE,
    {"kind": "Route", "name": "a", "prefix": "/team-a", "tls": {"certificate": "/a.pem", "key": "/a.key"}},
]
BAD: list[dict[str, Any]] = [
    {},
    {"kind": "Model"},
    {"name": "a"},
    {"kind": "Job", "name": "a"},
    {"kind": "Model", "name": "a"},
    {**MODEL, "name": "A_b"},
    {**MODEL, "gpuz": 1},
    {**MODEL, "gpus": "1"},
    {**MODEL, "gpus": 65},
    {**MODEL, "gpus": -1},
    {**MODEL, "gpus": {"count": 65}},
    {**MODEL, "gpus": {"coutn": 1}},
    {**MODEL, "memory": "18 apples"},
    {**MODEL, "replicas": 1001},
    {**MODEL, "replicas": {"min": -1}},
    {**MODEL, "priority": 1001},
    {**MODEL, "priority": 1.5},
    {**MODEL, "env": {"A": [1]}},
    {**MODEL, "env": {"A": {"secrt": "x"}}},
    {**MODEL, "args": "--x"},
    {**MODEL, "args": [[1]]},
    {**MODEL, "labels": {"a": None}},
    {**MODEL, "health": {"interval": "soon"}},
    {**MODEL, "health": {"path": "health"}},
    {**MODEL, "update": {"strategy": "recreate"}},
    {**MODEL, "runtime": "bare"},
    {**MODEL, "runtime": {"docker": {"image": "not an image"}}},
    {**MODEL, "runtime": {"docker": {"volumes": ["here"]}}},
    {**MODEL, "adapters": [{"name": "sql"}]},
    {**MODEL, "apiVersion": "v2"},
    {**MODEL, "paused": "yes"},
    {**MODEL, "command": ["x"]},
    {**SERVICE, "command": []},
    {**SERVICE, "port": 0},
    {**SERVICE, "source": "hf:o/r"},
    {"kind": "Node", "name": "a", "ports": "all"},
    {"kind": "Node", "name": "a", "cache": {}},
    {"kind": "Engine", "name": "e"},
    {"kind": "Node", "name": "a", "gateway": {"listen": ["localhost:80"]}},
    {"kind": "Node", "name": "a", "gateway": {"listen": []}},
    {"kind": "Node", "name": "a", "gateway": {"workers": 0}},
    {**MODEL, "limits": {"requests_per_minute": 0}},
    {**MODEL, "affinity": "sticky"},
    {"kind": "Access", "name": "team"},
    {**ACCESS, "keys": []},
    {**ACCESS, "keys": [{"sha256": "A" * 64}]},
    {**ACCESS, "keys": [{"sha256": "a" * 64, "expires": "soon"}]},
    {**ACCESS, "roles": ["root"]},
    {**ROUTE, "hosts": ["a host"]},
    {**ROUTE, "prefix": "/a/"},
    {**ROUTE, "tls": {"certificate": "a.pem", "key": "/a.key"}},
]


@pytest.mark.parametrize("document", GOOD, ids=str)
def test_what_is_good_is_good_for_both(document: dict[str, Any], validator: Any) -> None:
    assert read(yaml.safe_dump(document).encode(), "f").problems == ()
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize("document", BAD, ids=str)
def test_what_is_bad_is_bad_for_both(document: dict[str, Any], validator: Any) -> None:
    assert read(yaml.safe_dump(document).encode(), "f").problems
    assert not validator.is_valid(document)


@pytest.mark.parametrize("path", sorted((ROOT / "fleet.d").rglob("*.y*ml")), ids=lambda path: path.name)
def test_the_examples_are_good_for_both(path: Path, validator: Any) -> None:
    assert read(path.read_bytes(), path.name).problems == ()
    for document in yaml.safe_load_all(path.read_text()):
        assert [error.message for error in validator.iter_errors(document)] == []


def test_every_key_has_help() -> None:
    schema = fleet_schema()
    keys = [
        (name, key, value)
        for name, definition in schema["$defs"].items()
        for key, value in definition["properties"].items()
    ]
    assert len(keys) > 70
    assert [(name, key) for name, key, value in keys if len(value.get("description", "")) < 10] == []


def test_a_wrong_line_is_told_at_its_own_key_and_not_as_the_wrong_kind(validator: Any) -> None:
    errors = [error.message for error in validator.iter_errors({**MODEL, "priority": 5000, "x": 1})]
    assert len(errors) == 2
    assert all("5000" in error or "'x'" in error for error in errors)


def test_the_schema_in_the_repository_is_current(tmp_path: Path) -> None:
    assert write(str(ROOT / "schemas"), check=True) == []
    path = str(tmp_path / FILE)
    assert write(str(tmp_path), check=True) == [path]
    assert not (tmp_path / FILE).exists()
    assert write(str(tmp_path)) == [path]
    assert write(str(tmp_path), check=True) == []
    assert json.loads((tmp_path / FILE).read_text())["$schema"] == "https://json-schema.org/draft/2020-12/schema"
