"""What the fields of a file are made of: names, texts, sizes, times, variables, and what a change of one means.

A field is of class `restart` (a change replaces the instance) unless it is declared with `live(…)` (what runs takes it
over) or `ENGINE` (the engine's own API does it while it runs, where it has one for that; else it is replaced).
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from reconciler.model.quantity import parse_duration, parse_size, write_duration, write_size
from reconciler.model.quick import Quick
from reconciler.model.secret import Secret

NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
LIVE: dict[str, Any] = {"x-change": "live"}
ENGINE: dict[str, Any] = {"x-change": "engine"}
Change = Literal["live", "engine", "restart"]


def live(default: Any, **more: Any) -> Any:
    """A field whose change needs no restart: it is applied to what runs."""
    return Field(default, json_schema_extra=LIVE, **more)


def _written(value: object) -> object:
    """A scalar of an environment variable as it was written: numbers and truth values become text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _ordered(value: Any) -> Any:
    """The same with every mapping in order of its keys: order in a file means nothing, and must change no hash."""
    if isinstance(value, dict):
        items: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {key: _ordered(items[key]) for key in sorted(items, key=str)}
    if isinstance(value, list):
        return [_ordered(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


Name = Annotated[str, Field(pattern=NAME, description="A DNS label: a-z, 0-9 and '-', at most 63 characters.")]
_Long = Annotated[str, Field(max_length=65536)]
_Short = Annotated[str, Field(max_length=253)]
Text = Annotated[_Long, BeforeValidator(_written), Quick(_Long)]
Label = Annotated[_Short, BeforeValidator(_written), Quick(_Short)]
Labels = dict[str, Label]
Params = Annotated[dict[str, Any], BeforeValidator(_ordered)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
Strings = Annotated[tuple[str, ...], Field(strict=False)]

_SIZE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": r"^\d+(\.\d+)?\s*([KMGT]i?B|B)?$"},
    ],
    "examples": ["18GiB"],
}
_DURATION_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$"},
    ],
    "examples": ["90s", "10m"],
}

Size = Annotated[
    int, BeforeValidator(parse_size), PlainSerializer(write_size, return_type=str), WithJsonSchema(_SIZE_SCHEMA)
]
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(write_duration, return_type=str),
    WithJsonSchema(_DURATION_SCHEMA),
]


class Spec(BaseModel):
    """Base of everything written in a file: frozen, no unknown key, documented by its attributes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, strict=True, populate_by_name=True
    )


class Resource(Spec):
    """What every kind has."""

    api_version: Literal["holdfast/v1"] = Field(default="holdfast/v1", alias="apiVersion")
    """Version of the language; assumed when not written."""
    name: Name
    """Unique among all models and services of the fleet."""
    labels: Labels = live(dict[str, str]())
    """Free labels for people and filters."""


class SecretRef(Spec):
    """The name of a secret; its value is never in a file, a plan, a log or an event."""

    secret: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """Name of a systemd credential, of a file in the secrets directory, or of an environment variable of the daemon."""

    @property
    def named(self) -> Secret:
        """The same for what is made of a file."""
        return Secret(secret=self.secret)


def _exportable(value: dict[str, str | SecretRef]) -> dict[str, str | SecretRef]:
    for key, text in value.items():
        if not key or "=" in key or "\0" in key or (isinstance(text, str) and "\0" in text):
            raise ValueError(f"cannot export {key!r}; names and values may not hold NUL, names not '='")
    return value


_EnvName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
_EnvText = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=65536)]
Env = Annotated[dict[str, Text | SecretRef], AfterValidator(_exportable), Quick(dict[_EnvName, _EnvText | SecretRef])]


def change_class(kind: type[Spec], field: str) -> Change:
    """Whether a change of this field is applied to what runs, by us or by its engine, or replaces it."""
    extra = kind.model_fields[field].json_schema_extra
    return "live" if extra == LIVE else "engine" if extra == ENGINE else "restart"
