"""JSON Schema of a `kind: Engine` and the `params` of models that use it. Nothing is ever fetched."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from reconciler.spec.explain import Finding

_DEEPEST = 64


def schema_findings(schema: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with an Engine's `params`."""
    if not schema:
        return []
    for reference in _references(schema, _DEEPEST):
        if not reference.startswith("#"):
            return [Finding(("params",), "cannot refer to another document ($ref); write the schema out")]
    import jsonschema  # noqa: PLC0415 it takes 100 ms, and few fleets need it

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        keys = ("params", *error.absolute_path)
        return [Finding(keys, "cannot be a JSON Schema (draft 2020-12) like this; see json-schema.org")]
    except RecursionError:
        return [Finding(("params",), "cannot be followed: it refers to itself; write the schema out")]
    return []


def params_findings(params: Mapping[str, Any], schema: Mapping[str, Any], engine: str) -> list[Finding]:
    """What an Engine's schema says against a model's `params`; the schema itself is sound."""
    if not schema:
        names = ", ".join(sorted(params))
        return [Finding(("params",), f"cannot be given: engine {engine} takes none; remove {names}")] if params else []
    import jsonschema  # noqa: PLC0415 see above

    findings: list[Finding] = []
    check: Any = jsonschema.Draft202012Validator(schema)
    try:
        errors = sorted(check.iter_errors(params), key=lambda error: list(map(str, error.absolute_path)))
    except Exception as error:  # noqa: BLE001 a pattern or a reference that the schema's own check lets pass
        why = type(error).__name__
        return [Finding(("params",), f"cannot be checked by the schema of engine {engine} ({why}); mend the schema")]
    for error in errors:
        keys = ("params", *error.absolute_path)
        rule = f"{error.validator}: {error.validator_value}"
        rule = rule if len(rule) <= 120 else str(error.validator)
        findings.append(Finding(keys, f"cannot be taken by engine {engine}, which asks for {rule}"))
    return findings


def _references(value: Any, room: int) -> Iterator[str]:
    if room == 0:
        yield "too deep"
    elif isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            if key in ("$ref", "$dynamicRef") and isinstance(inner, str):
                yield inner
            else:
                yield from _references(inner, room - 1)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _references(inner, room - 1)
