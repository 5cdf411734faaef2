"""The values in requests: IDs, names, points in time, numbers, messages.

Types are strict: a number is not accepted as a text, nor a text as a number.
"""

import re
from datetime import datetime, timezone
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from hl_sessions.server.protocol.identifiers import LOG, PROJECT, SESSION, identifier_pattern


def _require_date_and_time(value: object) -> object:
    # Pydantic would also accept numbers and digits as seconds since 1970.
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:", value, re.ASCII):
        raise ValueError("give date and time as in 2025-09-08T12:00:00Z")
    return value


def in_utc(value: datetime) -> datetime:
    """Convert a point in time to UTC; one without a time zone is taken for UTC.

    Raises:
        ValueError: When it is before the year 1 or after the year 9999.
    """
    if value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("the date is out of range") from None


# An index of PostgreSQL takes up to 2,704 bytes, and a character up to 4.
Reference = Annotated[str, Field(min_length=1, max_length=512)]
ProjectId = Annotated[str, Field(pattern=identifier_pattern(PROJECT))]
SessionId = Annotated[str, Field(pattern=identifier_pattern(SESSION))]
LogId = Annotated[str, Field(pattern=identifier_pattern(LOG))]
Timestamp = Annotated[
    datetime, Field(strict=False), BeforeValidator(_require_date_and_time), AfterValidator(in_utc)
]
# The range of an integer in a database.
Count = Annotated[int, Field(ge=0, lt=2**63)]
# The sum of any number of such values is a finite float.
Dollars = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
Number = int | float
# Callers that always send an error send an empty one when there is none.
ErrorText = Annotated[str, AfterValidator(lambda text: text or None)]
Judgment = bool | int | float | list[str] | str


class WireModel(BaseModel):
    """A JSON object of a request; unknown fields are dropped, and ``null`` means the same as leaving out."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, hide_input_in_errors=True)


JSONObject = dict[str, Any]
Message = Annotated[
    JSONObject,
    WithJsonSchema(
        {
            "type": "object",
            "description": "A message of a chat, usually with `role` and `content`; all fields are kept.",
        }
    ),
]
