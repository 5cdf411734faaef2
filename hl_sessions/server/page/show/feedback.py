"""Feedback as a reader sees it: the given feedback, and the forms to give more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hl_sessions.server.page.queries.datapoints import Feedback
from hl_sessions.server.protocol.feedback_types import LONGEST_TEXT, FeedbackType

_CLASSES: Final = {"positive": "good", "negative": "bad"}


@dataclass(frozen=True)
class Choice:
    """A value that can be given with a click.

    Args:
        value: The value.
        kind: ``good`` or ``bad`` if it is one of these, else empty.
        is_chosen: Whether the reader has given it.
    """

    value: str
    kind: str
    is_chosen: bool


@dataclass(frozen=True)
class TypedField:
    """A field to give a number or a text.

    Args:
        name: The type of the feedback.
        is_number: Whether it is a number.
        value: The value that the reader has given; empty if none.
        longest: The greatest number of characters.
    """

    name: str
    is_number: bool
    value: Any
    longest: int


@dataclass(frozen=True)
class ShownFeedback:
    """Feedback on one subject.

    Args:
        told: The given feedback, without the values that the choices show.
        choices: The values that can be given with a click, by type.
        fields: The fields for other values.
    """

    told: Sequence[Feedback]
    choices: Mapping[str, Sequence[Choice]]
    fields: Sequence[TypedField]


def show_feedback(
    given: Sequence[Feedback], types: Mapping[str, FeedbackType], reader: str | None
) -> ShownFeedback:
    """Separate the given feedback from the values that the reader can give.

    Args:
        given: All feedback on the subject.
        types: The types that it can have, by their names.
        reader: The name of the reader, if known.
    """
    own = {one.type: one.value for one in given if one.is_of(reader)}
    choices = {
        name: [
            Choice(
                label["value"], _CLASSES.get(label.get("sentiment", ""), ""), own.get(name) == label["value"]
            )
            for label in labels
        ]
        for name, one in types.items()
        if (labels := one.get("values"))
    }
    fields = [
        TypedField(name, "kind" in one, own.get(name, ""), LONGEST_TEXT)
        for name, one in types.items()
        if name not in choices
    ]
    told = [one for one in given if not (one.is_of(reader) and one.type in choices)]
    return ShownFeedback(told, choices, fields)
