"""The kinds → one JSON Schema (draft 2020-12) for editors: completion, hover help, red lines. Agrees with `check`."""

import json
import os
from typing import Any, cast

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from reconciler.model.fields import ENGINE, LIVE
from reconciler.model.kinds import KINDS

FILE = "fleet.schema.json"
_SCALAR = ["string", "number", "boolean"]
_KINDS = {
    "Model": "An inference service: a model, served by an engine, under one name.",
    "Service": "Any supporting program: a vector store, a tracker, a metrics server.",
    "Engine": "A new engine without code: how to run a model with some program.",
    "Node": "A machine: its ports, reserved memory, cache and gateway.",
    "Access": "Who may ask the gateway for what, and how much: whoever shows one of its keys.",
    "Route": "A domain of the gateway, or a part of its paths, and the models that are shown there.",
}
_CHANGES = {
    LIVE["x-change"]: "A change needs no restart.",
    ENGINE["x-change"]: "A change needs no restart where the engine can do it while it runs.",
}
_BOUNDS = {"replicas": (0, 1000), "gpus": (0, 64)}
"""Bounds that the kinds check by code."""


class _Generator(GenerateJsonSchema):
    """Says what the validators in front of a field accept."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        inner = super().function_before_schema(schema)
        # text that may be written as a number or a truth value
        if inner.get("type") == "string" and schema["schema"]["type"] == "str":
            return {**inner, "type": _SCALAR}
        return inner


def fleet_schema() -> dict[str, Any]:
    """JSON Schema of one document of a fleet file."""
    definitions: dict[str, Any] = {}
    for name, kind in KINDS.items():
        schema = kind.model_json_schema(by_alias=True, schema_generator=_Generator)
        definitions.update(schema.pop("$defs", {}))
        definitions[name] = schema
    for name, definition in definitions.items():
        _finish(name, definition, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Holdfast fleet file",
        "description": "One document of fleet.d: a model, a service, an engine, a machine, who may ask, or a domain.",
        "type": "object",
        "required": ["kind", "name"],
        "properties": {
            "kind": {
                "description": "What is declared.",
                "oneOf": [{"const": name, "description": _KINDS[name]} for name in KINDS],
            },
        },
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for name in KINDS
        ],
        "$defs": dict(sorted(definitions.items())),
    }


def _finish(name: str, definition: dict[str, Any], definitions: dict[str, Any]) -> None:
    properties = cast("dict[str, dict[str, Any]]", definition.get("properties", {}))
    for key, schema in properties.items():
        schema.pop("title", None)
        if key == "kind":
            schema["description"] = _KINDS[name]
        elif "description" not in schema:
            schema["description"] = definitions[schema["$ref"].rpartition("/")[2]]["description"]
        if (told := _CHANGES.get(schema.pop("x-change", None))) is not None:
            schema["description"] = f"{schema['description']}\n\n{told}"
        for choice in schema.get("anyOf", ()):
            if key in _BOUNDS and choice.get("type") == "integer":
                choice["minimum"], choice["maximum"] = _BOUNDS[key]
        schema["description"] = schema["description"].replace("\n    ", "\n")
    if name in KINDS:
        definition["required"] = sorted({"kind", *definition.get("required", ())})


def write(directory: str, check: bool = False) -> list[str]:
    """Write the schema into a directory, or only compare. What differs, or was written, by path."""
    return publish(os.path.join(directory, FILE), fleet_schema(), check=check)


def publish(path: str, schema: dict[str, Any], *, check: bool) -> list[str]:
    """The same of any schema and its file."""
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return []
    except FileNotFoundError:
        pass
    if not check:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return [path]
