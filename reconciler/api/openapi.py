"""Describes the API as an OpenAPI 3.1 document, from the table of routes: it can say nothing else than the server."""

import contextlib
import json
import os
from typing import Any

from pydantic import TypeAdapter

from reconciler import __version__
from reconciler.api.given import Nothing
from reconciler.api.routes import ROUTES, Failure, Route
from reconciler.model.fields import NAME

FILE = "control.openapi.json"
"""Its name in `schemas/`."""
_TEMPLATE = "#/components/schemas/{model}"


def document() -> dict[str, Any]:
    """The whole description."""
    failure = TypeAdapter(Failure)
    adapters = {id(adapter): adapter for adapter in (failure, *(route.answer for route in ROUTES)) if adapter}
    answers, components = TypeAdapter.json_schemas(
        [(key, "serialization", adapter) for key, adapter in adapters.items()], ref_template=_TEMPLATE
    )
    schemas: dict[str, Any] = dict(components.get("$defs", {}))
    bodies: dict[str, Any] = {}
    for route in ROUTES:
        if route.method == "POST":
            described = route.given.model_json_schema(ref_template=_TEMPLATE)
            bodies |= described.pop("$defs", {}) | {route.given.__name__: described}
    paths: dict[str, Any] = {}
    for route in ROUTES:
        answer = {"type": "string", "contentMediaType": route.media}
        if route.answer is not None:
            answer = answers[(id(route.answer), "serialization")]
        failed = answers[(id(failure), "serialization")]
        paths.setdefault(f"/v1{route.path}", {})[route.method.lower()] = _operation(route, answer, failed)
    paths["/v1/openapi.json"] = {"get": _itself(answers[(id(failure), "serialization")])}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast control API",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": (
                "On a unix socket that only its owner and root may open. The Host header must be `localhost` or "
                "`holdfast`, and there may be no Origin. Durations and times are seconds; `since` and `now` of a "
                "status are of the machine's monotonic clock. Streams are one JSON value a line."
            ),
        },
        "servers": [{"url": "http://localhost"}],
        "paths": paths,
        "components": {"schemas": schemas | bodies},
    }


def text() -> str:
    """The description as it is committed and served."""
    return json.dumps(document(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write(directory: str, *, check: bool = False) -> list[str]:
    """Write the description into a directory, or only compare. What differs, or was written, by path."""
    path = os.path.join(directory, FILE)
    described = text()
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        if file.read() == described:
            return []
    if not check:
        os.makedirs(directory, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(described)
    return [path]


def _operation(route: Route[Any], answer: dict[str, Any], failed: dict[str, Any]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = []
    if "{name}" in route.path:
        parameters.append(
            {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "pattern": NAME}}
        )
    operation: dict[str, Any] = {
        "operationId": route.does.__name__.strip("_"),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": route.summary, "content": {route.media: {"schema": answer}}},
            "default": {
                "description": "What cannot be done, and what to do instead",
                "content": {"application/json": {"schema": failed}},
            },
        },
    }
    if route.method == "GET":
        parameters += _query(route)
    else:
        schema = {"$ref": _TEMPLATE.format(model=route.given.__name__)}
        operation["requestBody"] = {
            "required": any(field.is_required() for field in route.given.model_fields.values()),
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _query(route: Route[Any]) -> list[dict[str, Any]]:
    if route.given is Nothing:
        return []
    properties: dict[str, Any] = route.given.model_json_schema(ref_template=_TEMPLATE)["properties"]
    found: list[dict[str, Any]] = []
    for name, schema in properties.items():
        schema = dict(schema)
        description = schema.pop("description", "")
        if schema.pop("default", ...) not in (None, ...):
            schema["default"] = properties[name]["default"]
        if "anyOf" in schema:  # a query has no null: it is left out
            kept = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
            schema = kept[0] if len(kept) == 1 else {"anyOf": kept}
        found.append({"name": name, "in": "query", "required": False, "description": description, "schema": schema})
    return found


def _itself(failed: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object"}
    return {
        "operationId": "openapi",
        "summary": "This description",
        "parameters": [],
        "responses": {
            "200": {"description": "This description", "content": {"application/json": {"schema": schema}}},
            "default": {"description": "What cannot be done", "content": {"application/json": {"schema": failed}}},
        },
    }
