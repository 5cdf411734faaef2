"""The lines of an export in JSON Lines: writes and parses them.

A line is an object with the name of its table as ``record``, and its columns. Keys and derived columns are
left out. Organisations are referred to by their names.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from math import isfinite
from typing import Annotated, Any, Final

from pydantic import AfterValidator, FiniteFloat, TypeAdapter, ValidationError
from pydantic_core import to_json
from sqlalchemy import Column, Float, Table

from hl_sessions.server.database.tables import (
    ExactJSON,
    UTCDateTime,
    feedback,
    logs,
    organisations,
    projects,
    sessions,
)
from hl_sessions.server.protocol.feedback_types import FeedbackTypes
from hl_sessions.server.protocol.storable import parse_storable
from hl_sessions.server.protocol.values import Count, Dollars, ErrorText, JSONObject, in_utc

EXPORTED: Final = (organisations, projects, sessions, logs, feedback)
"""The tables, each after those that it refers to."""

ORGANISATION: Final = "organisation"
"""The field with the name of an organisation."""

_TABLES: Final = {table.name: table for table in EXPORTED}
_NOT_EXPORTED: Final = {"sequence", "organisation_id", "datapoints_count", "sessions_count"}

# The page adds these up, or builds forms from them.
_LIMITED: Final[dict[str, Any]] = {
    "error": ErrorText,
    "feedback_types": FeedbackTypes,
    "prompt_tokens": Count,
    "output_tokens": Count,
    "prompt_cost": Dollars,
    "output_cost": Dollars,
}


class InvalidLineError(Exception):
    """A line is not part of an export, or contradicts the database.

    Args:
        number: The number of the line, from 1.
        message: The problem.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(f"line {number}: {message}")


@cache
def exported_columns(table: Table) -> Sequence[str]:
    """Return the names of the columns that are exported as they are."""
    # Plain strings, because SQLAlchemy's own names are slow to dump.
    return [str(column.name) for column in table.c if column.name not in _NOT_EXPORTED]


def json_line(table: Table, record: Mapping[str, Any], organisation: str | None) -> bytes:
    """Return the line of a record.

    Args:
        table: The table of the record.
        record: Its columns.
        organisation: The name of its organisation; ``None`` for an organisation itself.
    """
    line: dict[str, Any] = {"record": str(table.name)}
    if organisation is not None:
        line[ORGANISATION] = organisation
    values = {name: record[name] for name in exported_columns(table) if record[name] is not None}
    return to_json(line | values) + b"\n"


def _require_finite(value: Any) -> Any:
    """Refuse numbers beyond a float in JSON, which a database could not read again."""
    pending = [value]
    # The list grows during the loop.
    for item in pending:
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, float) and not isfinite(item):
            raise ValueError
    return value


def _value_of(column: Column[Any]) -> Any:
    if column.name in _LIMITED:
        return _LIMITED[column.name]
    if isinstance(column.type, UTCDateTime):
        return Annotated[datetime, AfterValidator(in_utc)]
    if isinstance(column.type, Float):
        return FiniteFloat
    if isinstance(column.type, ExactJSON):
        # The metadata of datapoints may be any JSON, as earlier versions have imported it.
        value = JSONObject if column is sessions.c.metadata else Any
        return Annotated[value, AfterValidator(_require_finite)]
    return column.type.python_type


_VALUES: Final[dict[str, dict[str, TypeAdapter[Any]]]] = {
    table.name: {name: TypeAdapter(_value_of(table.c[name])) for name in exported_columns(table)}
    for table in EXPORTED
}


def numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers, without empty ones."""
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def parse_line(number: int, line: bytes) -> tuple[Table, dict[str, Any]]:
    """Parse a line.

    Args:
        number: The number of the line, from 1.
        line: The line.

    Returns:
        The table, and the row, in which ``ORGANISATION`` has the name of the organisation.

    Raises:
        InvalidLineError: When the line is not part of an export.
    """
    try:
        record = read_json(line)
    except (ValueError, RecursionError):
        raise InvalidLineError(number, "this is not JSON") from None
    name = record.pop("record", None) if isinstance(record, dict) else None
    if not isinstance(name, str) or name not in _TABLES:
        raise InvalidLineError(number, "this is no line of an export") from None
    table = _TABLES[name]
    row: dict[str, Any] = {column: record.pop(column, None) for column in exported_columns(table)}
    for column, value in row.items():
        if value is None:
            if not table.c[column].nullable:
                raise InvalidLineError(number, f"{column!r} is missing")
            continue
        try:
            row[column] = _VALUES[name][column].validate_python(value)
        except ValidationError:
            raise InvalidLineError(number, f"{column!r} is of the wrong type, or out of range") from None
    if "organisation_id" in table.c:
        row[ORGANISATION] = record.pop(ORGANISATION, None)
    if record:
        raise InvalidLineError(number, "it has fields that no export has")
    return table, row


def read_json(line: bytes) -> Any:
    """Parse stored JSON, which may be nested deeper than a request may be.

    Raises:
        ValueError: When it is no JSON.
        RecursionError: When it is nested too deep.
    """
    try:
        value, _ = parse_storable(line)
    except ValueError:
        # Fields of a config in its ``other`` may be nested one level deeper than this parser allows. The
        # fallback accepts halves of surrogate pairs, which cannot be written again.
        value = json.loads(line, parse_constant=_refuse)
        to_json(value)
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
