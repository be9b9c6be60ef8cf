"""What the quick try takes, the careful validators take too, and make the same of it."""

from typing import Annotated, Any, cast, get_args, get_origin

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from reconciler.model import fields, kinds
from reconciler.model.quick import Quick

PIECES = [
    "a",
    "A=1",
    "\0",
    "\n",
    " ",
    "é",
    "_",
    "-",
    ".",
    "/",
    "@",
    ":",
    "hf:",
    "hf:o/r",
    "file:",
    "file:/x",
    "https://x",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=5).map("".join) | st.sampled_from(
    ["x" * 253, "x" * 254, "x" * 65537]
)
LEAVES = TEXTS | st.integers(-2, 70) | st.sampled_from([999, 1000, 1001, 2**70, 1.5, True, None, {"secret": "s"}])
VALUES = LEAVES | st.dictionaries(TEXTS, LEAVES, max_size=3) | st.lists(LEAVES, max_size=2)


def pair(annotation: Any) -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
    """The quick try of a type, and the same type without one."""
    *careful, quick = annotation.__metadata__
    assert isinstance(quick, Quick)
    whole: Any = annotation.__origin__
    for mark in careful:
        whole = Annotated[whole, mark]
    return TypeAdapter(quick.type), TypeAdapter(whole)


PAIRS = {
    name: pair(annotation)
    for name, annotation in (vars(fields) | vars(kinds)).items()
    if get_origin(annotation) is Annotated and any(isinstance(mark, Quick) for mark in get_args(annotation))
}


def taken(adapter: TypeAdapter[Any], value: object) -> tuple[object] | None:
    try:
        return (cast("object", adapter.validate_python(value, strict=True)),)
    except ValidationError:
        return None


def test_every_type_with_a_quick_try_is_compared() -> None:
    assert PAIRS.keys() >= {"Text", "Label", "Env", "Count", "Copies", "Fetchable"}


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=300)
@given(VALUES)
@example({"A": {"secret": "s"}, "B": "x"})
@example({"A=": "x"})
@example({"A": "\0"})
@example("hf:org/repo/file\n")
def test_a_quick_try_takes_nothing_else_and_makes_nothing_else_of_it(name: str, value: object) -> None:
    quick, careful = PAIRS[name]
    made = taken(quick, value)
    if made is not None:
        assert repr(made) == repr(taken(careful, value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Text", "x"),
        ("Env", {"A": "x", "B": {"secret": "s"}}),
        ("Count", 1),
        ("Copies", 0),
        ("Fetchable", "hf:o/r/x.gguf"),
    ],
)
def test_what_is_usually_written_is_taken_at_the_first_try(name: str, value: object) -> None:
    """Otherwise ten thousand files take longer."""
    assert taken(PAIRS[name][0], value) is not None
