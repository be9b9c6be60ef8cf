"""How a noun is declared of which there are thousands: frozen for the type checker, not while it runs."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def noun(kind: type[T]) -> type[T]:
    """A frozen dataclass with slots, made in a third of the time: it is pyright that refuses to set a field."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(kind)
