"""The filter of a list of datapoints."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema
from sqlalchemy import Column, ColumnElement, false, or_

from hl_sessions.server.database.tables import logs
from hl_sessions.server.database.text_search import json_contains, text_contains
from hl_sessions.server.protocol.values import Timestamp

_JSON_TO_SEARCH: Final[Sequence[Column[Any]]] = (logs.c.inputs, logs.c.messages, logs.c.output_message)

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DATE_OR_TIME: Final = WithJsonSchema(
    {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}
)


def _begin_of_day(value: object) -> object:
    return f"{value}T00:00:00Z" if isinstance(value, str) and _DATE.fullmatch(value) else value


def _end_of_day(value: object) -> object:
    return f"{value}T{time.max}Z" if isinstance(value, str) and _DATE.fullmatch(value) else value


FirstTime = Annotated[Timestamp, BeforeValidator(_begin_of_day), _DATE_OR_TIME]
"""A point in time, or a date, which stands for the start of its day in UTC."""

LastTime = Annotated[Timestamp, BeforeValidator(_end_of_day), _DATE_OR_TIME]
"""A point in time, or a date, which stands for the end of its day in UTC."""


@dataclass(frozen=True)
class LogFilter:
    """The conditions for the wanted datapoints; ``None`` is no condition.

    Args:
        project_id: The project of the datapoint.
        session_id: The session of the datapoint.
        search: A text in the inputs, messages or outputs, regardless of case.
        metadata_search: A text in the metadata, regardless of case.
        start: The earliest time of the datapoint, in UTC.
        end: The latest time of the datapoint, in UTC.
        nothing: Whether no datapoint is wanted at all.
    """

    project_id: str | None = None
    session_id: str | None = None
    search: str | None = None
    metadata_search: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    nothing: bool = False

    @property
    def texts(self) -> list[str]:
        """The texts to search for."""
        return [text for text in (self.search, self.metadata_search) if text is not None]

    def place(self, *, by_index: bool = True) -> Sequence[ColumnElement[bool]]:
        """Return the conditions for session and project.

        Args:
            by_index: Whether an index may be used for the first of them, which has the order of the list.
        """
        names = ((logs.c.session_id, self.session_id), (logs.c.project_id, self.project_id))
        given = [(column, name) for column, name in names if name is not None]
        # No index on a column is used for an expression.
        return [
            (column if by_index and number == 0 else column.concat("")) == name
            for number, (column, name) in enumerate(given)
        ]

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield the other conditions on a row of the table of logs."""
        if self.search is not None:
            in_json = [json_contains(column, self.search) for column in _JSON_TO_SEARCH]
            yield or_(text_contains(logs.c.output, self.search), *in_json)
        if self.metadata_search is not None:
            yield json_contains(logs.c.metadata, self.metadata_search)
        if self.start is not None:
            yield logs.c.created_at >= self.start
        if self.end is not None:
            yield logs.c.created_at <= self.end
        if self.nothing:
            yield false()
