"""A first try of a validator that runs no Python: most of what is written is plain, and there may be thousands."""

from dataclasses import dataclass
from typing import Any, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

QUICK, CAREFUL = "[quick]", "[careful]"
"""How an error's location names the two."""


@dataclass(frozen=True, slots=True)
class Quick:
    """Last in an `Annotated`: what this type takes is taken; of anything else the validators before it have the say.

    The type may take less than they do, never more, and must make the same of it.
    """

    type: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        quick, careful = handler.generate_schema(self.type), handler(source)
        return core_schema.union_schema([(quick, QUICK), (careful, CAREFUL)], mode="left_to_right")

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        [_, (careful, _)] = cast("list[tuple[core_schema.CoreSchema, str]]", schema.get("choices"))
        return handler(careful)
