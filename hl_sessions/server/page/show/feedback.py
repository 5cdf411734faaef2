"""Feedback as a reader sees it: what there is, and the forms to give some."""

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
        kind: Whether it is ``good`` or ``bad``; else empty.
        is_chosen: Whether the reader has given it.
    """

    value: str
    kind: str
    is_chosen: bool


@dataclass(frozen=True)
class TypedField:
    """A number or a text that can be given.

    Args:
        name: The type of the feedback.
        is_number: Whether it is a number.
        value: What the reader has given; empty: nothing.
        longest: How many characters it may have.
    """

    name: str
    is_number: bool
    value: Any
    longest: int


@dataclass(frozen=True)
class ShownFeedback:
    """Feedback on one subject.

    Args:
        told: What is there, without what the choices show.
        choices: The values that can be given with a click, by type.
        fields: What can be typed.
    """

    told: Sequence[Feedback]
    choices: Mapping[str, Sequence[Choice]]
    fields: Sequence[TypedField]


def show_feedback(
    given: Sequence[Feedback], types: Mapping[str, FeedbackType], reader: str | None
) -> ShownFeedback:
    """Sort what there is from what the reader can give.

    Args:
        given: All feedback on the subject.
        types: The types that it can have, by their names.
        reader: The name of the reader, if there is one.
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
