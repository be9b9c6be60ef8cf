"""What `holdfast plan --json` prints, as JSON Schema (draft 2020-12): from the types, and their docstrings."""

import ast
import inspect
import os
import textwrap
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from reconciler.model.plan import Basis, Plan
from reconciler.spec.schema import publish
from tui.view.outlook import Outlook

FILE = "plan.schema.json"


class _Generator(GenerateJsonSchema):
    """Says that every key is always there, and what it means."""

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: ARG002  the signature is pydantic's
        return True

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        made = super().dataclass_schema(schema)
        told = _docstrings(schema["cls"])
        for name, described in made.get("properties", {}).items():
            described.pop("title", None)
            described.pop("default", None)
            if name in told:
                described["description"] = told[name]
        return made


def plan_schema() -> dict[str, Any]:
    """JSON Schema of one plan."""
    adapter = TypeAdapter(Outlook)
    adapter.rebuild(_types_namespace={"Basis": Basis, "Plan": Plan})  # where it is made, they are named and not read
    made = adapter.json_schema(mode="serialization", schema_generator=_Generator)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "Holdfast plan",
        "description": "What `holdfast plan --json` prints. Later versions may add keys.",
    }


def write(directory: str, *, check: bool) -> list[str]:
    """Write the schema into a directory, or only compare. What differs, or was written, by path."""
    return publish(os.path.join(directory, FILE), plan_schema(), check=check)


def _docstrings(kind: type) -> dict[str, str]:
    """The docstring beneath each field of a class."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    told: dict[str, str] = {}
    name = ""
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            told[name] = " ".join(str(node.value.value).split())
            name = ""
        else:
            name = ""
    return told
