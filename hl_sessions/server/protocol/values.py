"""The values that requests hold: IDs, names, points in time, messages.

Everything is read strictly: a number is no text, and a text no number.
"""

import re
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from hl_sessions.server.protocol.identifiers import LOG, PROJECT, SESSION, identifier_pattern


def _require_date_and_time(value: object) -> object:
    # Pydantic would also take numbers, and digits, as seconds since 1970.
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:", value, re.ASCII):
        raise ValueError("give date and time as in 2025-09-08T12:00:00Z")
    return value


def in_utc(value: datetime) -> datetime:
    """Give the same point in time in UTC, which is also what a time without a time zone is taken for.

    Raises:
        ValueError: When it is before the year 1 or after the year 9999.
    """
    if value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("the date is out of range") from None


# An index of PostgreSQL takes up to 2,704 bytes, and a character takes up to 4.
Reference = Annotated[str, Field(min_length=1, max_length=512)]
ProjectId = Annotated[str, Field(pattern=identifier_pattern(PROJECT))]
SessionId = Annotated[str, Field(pattern=identifier_pattern(SESSION))]
LogId = Annotated[str, Field(pattern=identifier_pattern(LOG))]
Timestamp = Annotated[
    datetime, Field(strict=False), BeforeValidator(_require_date_and_time), AfterValidator(in_utc)
]
# What the integers of a database can hold.
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
# However many of them there are, their sum is a float.
Dollars = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
Judgment = bool | int | float | list[str] | str


def by_type(*tags: str) -> Discriminator:
    """Tell the members of a union apart by their field ``type``.

    Pydantic does that by itself too, but its message repeats what it found in the field.
    """
    return Discriminator(
        _type_of,
        custom_error_type="unknown_type",
        custom_error_message=f"The field 'type' has to be one of {', '.join(tags)}",
    )


def _type_of(value: object) -> str | None:
    tag = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return tag if isinstance(tag, str) else None


class WireModel(BaseModel):
    """A JSON object of a request; unknown fields are dropped, and ``null`` means the same as leaving out."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class FunctionCall(WireModel):
    """Which function a model called; the arguments are JSON in a text."""

    name: str
    arguments: str | None = None


class ToolCall(WireModel):
    """The call of a tool that a model asked for."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class ImageURL(WireModel):
    """Where an image is."""

    url: str
    detail: Literal["high", "low", "auto"] | None = None


class TextPart(WireModel):
    """A text in a message of several parts."""

    type: Literal["text"]
    text: str


class ImagePart(WireModel):
    """An image in a message of several parts."""

    type: Literal["image_url"]
    image_url: ImageURL


MessagePart = Annotated[
    Annotated[TextPart, Tag("text")] | Annotated[ImagePart, Tag("image_url")], by_type("text", "image_url")
]


class ChatMessage(WireModel):
    """One message of a chat."""

    role: Literal["user", "assistant", "system", "tool"]
    content: str | list[MessagePart] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call: FunctionCall | None = None


JSONObject = dict[str, Any]
