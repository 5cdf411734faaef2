"""The types of feedback that a project has, and the values that they allow."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, with_config

# Pydantic needs the backport before Python 3.12.
from typing_extensions import NotRequired, TypedDict

from hl_sessions.server.protocol.values import Judgment, WireModel

RATING: Final = "rating"
"""The type whose feedback makes a session count as judged."""

NOTE: Final = "note"
"""The type of a free text."""

LONGEST_TEXT: Final = 4096
"""The longest text, in bytes of UTF-8; a form of the page has room for 3 characters for each byte."""

MOST_TYPES: Final = 50
MOST_VALUES: Final = 50

_Name = Annotated[str, Field(min_length=1, max_length=64)]


@with_config(WireModel.model_config)
class FeedbackLabel(TypedDict):
    """One of the values of a type."""

    value: _Name
    sentiment: NotRequired[Literal["positive", "negative", "neutral", "unset"]]


@with_config(WireModel.model_config)
class FeedbackType(TypedDict):
    """A type of feedback: it allows one of its ``values``, a number if that is its ``kind``, else a text."""

    type: _Name
    values: NotRequired[Annotated[list[FeedbackLabel], Field(max_length=MOST_VALUES)]]
    kind: NotRequired[Literal["number"]]


BUILT_IN: Final[Sequence[FeedbackType]] = (
    {
        "type": RATING,
        "values": [
            {"value": "good", "sentiment": "positive"},
            {"value": "bad", "sentiment": "negative"},
        ],
    },
    {"type": NOTE},
)
"""The types that every project has."""

BUILT_IN_NAMES: Final = frozenset(one["type"] for one in BUILT_IN)


def _check(types: list[FeedbackType]) -> list[FeedbackType]:
    names = [one["type"] for one in types]
    checked: list[FeedbackType] = []
    for one in types:
        name, values = one["type"], [label["value"] for label in one.get("values", ())]
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is there twice: give each type once")
        if len(set(values)) < len(values):
            raise ValueError(f"a value of {name!r} is there twice: give each value once")
        if values and "kind" in one:
            raise ValueError(f"{name!r} has both 'values' and a 'kind': leave one of them out")
        built_in = next((known for known in BUILT_IN if known["type"] == name), None)
        if built_in is None:
            checked.append(_described(one))
        elif _described(one) != built_in:
            raise ValueError(f"{name!r} is there in every project as it is: give yours another name")
    return checked


def _described(one: FeedbackType) -> FeedbackType:
    """Return a type in the only form that is stored."""
    described: FeedbackType = {"type": one["type"]}
    if "kind" in one:
        described["kind"] = one["kind"]
    if labels := one.get("values"):
        described["values"] = [
            {"value": label["value"], "sentiment": label.get("sentiment", "unset")} for label in labels
        ]
    return described


FeedbackTypes = Annotated[list[FeedbackType], Field(max_length=MOST_TYPES), AfterValidator(_check)]
"""The types that a project defines. The types of every project may be listed with them, and are left out."""


def types_by_name(defined: Iterable[Sequence[FeedbackType] | None]) -> Mapping[str, FeedbackType]:
    """Return the types of some projects by their names; the first one of a name counts.

    Args:
        defined: The types that each of the projects defines.
    """
    types = {one["type"]: one for one in BUILT_IN}
    for of_project in defined:
        for one in of_project or ():
            types.setdefault(one["type"], one)
    return types


def problem_with(wanted: FeedbackType | None, value: Judgment | None) -> str | None:
    """Return what is wrong with a value and which values are allowed, or ``None`` if the value is valid.

    Args:
        wanted: The type; ``None`` for a type that no project defines, which allows any value.
        value: The value.
    """
    if wanted is None:
        return None
    name = wanted["type"]
    if values := [label["value"] for label in wanted.get("values", ())]:
        is_fitting, possible = value in values, f"one of: {', '.join(values)}"
    elif "kind" in wanted:
        is_fitting, possible = isinstance(value, int | float) and not isinstance(value, bool), "a number"
    else:
        is_fitting = isinstance(value, str) and len(value.encode()) <= LONGEST_TEXT
        possible = f"a text of up to {LONGEST_TEXT:,} bytes"
    return None if is_fitting else f"{_short(value)} is no value of {name!r}, which may be {possible}"


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."  # noqa: PLR2004
