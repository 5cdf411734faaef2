"""Datapoints as they are answered, in parts: what is short at once, and of what is long piece by piece."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, Select, Text, case, cast, func, literal, select, type_coerce

from hl_sessions.server.database.in_parts import in_parts_of_size
from hl_sessions.server.database.stored_text import octets_of
from hl_sessions.server.database.tables import logs, projects, sessions
from hl_sessions.server.protocol.long_json import outline_of, with_long_strings
from hl_sessions.server.protocol.messages import answered_message
from hl_sessions.server.records.feedback import feedback_of
from hl_sessions.server.records.parts import AT_ONCE, Part, StoredBytes, StoredStrings

_LONG: Final = 64 * 1024
"""From which length on, in bytes, a value is not read with its row."""

_JSON: Final = ("config", "metadata", "inputs", "provider_request", "provider_response")
_MESSAGES: Final = ("messages", "output_message")
_TEXTS: Final = (
    *("config_id", "environment", "source", "source_datapoint_id"),
    *("output", "error", "stdout"),
)
VALUES: Final = (*_JSON, *_MESSAGES, *_TEXTS, "judgment")
"""The columns whose values may be of any length."""

_NOT_AT_ONCE: Final = {*VALUES, "sequence"}

_OCTETS: Final = "octets_of_"
_SIZE: Final[ColumnElement[int]] = sum(
    (func.coalesce(octets_of(logs.c[name]), 0) for name in VALUES), literal(0)
)
# No evaluators run here, so there is nothing to wait for.
_SAID_BY_THE_SERVER: Final = {"evaluation_results": [], "observability_status": "completed"}


def parts_of_logs(connection: Connection, sequences: Sequence[int]) -> list[Part]:
    """Return the parts of datapoints in their order, with commas between them.

    The first ones have to be read in the same transaction, as there is no comma before them.
    """
    parts: list[Part] = []
    for some, are_long in _in_batches(connection, sequences):
        parts.append(_Logs(some, are_long=are_long, are_first=not parts))
    return parts


def parts_of_each_log(connection: Connection, sequences: Sequence[int]) -> dict[int, list[Part]]:
    """Return the parts of each of the datapoints by itself."""
    parts: dict[int, list[Part]] = {}
    for some, are_long in _in_batches(connection, sequences):
        parts |= _read(connection, some, are_long=are_long)
    return parts


@dataclass(frozen=True)
class _Logs:
    """Some datapoints.

    Args:
        sequences: They, in the order of the answer.
        are_long: Whether what is long in them is left for later.
        are_first: Whether nothing stands before them.
    """

    sequences: Sequence[int]
    are_long: bool
    are_first: bool

    def read(self, connection: Connection) -> Sequence[Part]:
        """Return the parts of those that are still there."""
        parts_of = _read(connection, self.sequences, are_long=self.are_long)
        parts: list[Part] = []
        for sequence in self.sequences:
            if sequence in parts_of:
                if parts or not self.are_first:
                    parts.append(b",")
                parts += parts_of[sequence]
        return parts


def _read(connection: Connection, sequences: Sequence[int], *, are_long: bool) -> dict[int, list[Part]]:
    rows: Sequence[Mapping[Any, Any]] = (
        connection.execute(_described(sequences, are_long=are_long)).mappings().all()
    )
    feedback = feedback_of(connection, [row["id"] for row in rows])
    return {row["sequence"]: list(_log(connection, row, feedback.get(row["id"]))) for row in rows}


def _in_batches(connection: Connection, sequences: Sequence[int]) -> Iterator[tuple[Sequence[int], bool]]:
    """Divide datapoints into those that can be read together, and tell whether they are long."""
    sizes: dict[int, int] = {
        row.sequence: row.size
        for row in connection.execute(
            select(logs.c.sequence, _SIZE.label("size")).where(logs.c.sequence.in_(sequences))
        )
    }
    for some in in_parts_of_size(((sequence, sizes[sequence]) for sequence in sequences), AT_ONCE):
        yield some, sizes[some[0]] > AT_ONCE


def _described(sequences: Sequence[int], *, are_long: bool) -> Select[Any]:
    """Build the query of datapoints, with the lengths of those of their values that it leaves out."""
    values = []
    for name in VALUES:
        column = logs.c[name]
        # As they are stored; but a judgment may be a number, which is no text in every database.
        value: ColumnElement[Any] = column if name == "judgment" else cast(column, Text)
        if are_long:
            length = octets_of(column)
            values.append(length.label(_OCTETS + name))
            value = type_coerce(case((length <= _LONG, value)), value.type)
        values.append(value.label(name))
    parents = logs.alias("parents")
    return (
        select(
            *(column for column in logs.c if column.name not in {"organisation_id", *VALUES}),
            *values,
            projects.c.name.label("project"),
            sessions.c.reference_id.label("session_reference_id"),
            parents.c.reference_id.label("parent_reference_id"),
        )
        .select_from(logs)
        .join(projects, projects.c.id == logs.c.project_id)
        .outerjoin(sessions, sessions.c.id == logs.c.session_id)
        .outerjoin(parents, parents.c.id == logs.c.parent_id)
        .where(logs.c.sequence.in_(sequences))
    )


def _log(
    connection: Connection, row: Mapping[Any, Any], feedback: Sequence[Mapping[str, Any]] | None
) -> Iterator[Part]:
    short = {
        name: value
        for name, value in row.items()
        if value is not None and name not in _NOT_AT_ONCE and not name.startswith(_OCTETS)
    }
    if feedback is not None:
        short["feedback"] = feedback
    yield to_json(short | _SAID_BY_THE_SERVER)[:-1]
    for name in VALUES:
        if row[name] is not None:
            yield b',"%s":' % name.encode() + _short_value(name, row[name])
        elif row.get(_OCTETS + name) is not None:
            yield b',"%s":' % name.encode()
            yield from _long_value(connection, row, name)
    yield b"}"


def _short_value(name: str, value: Any) -> bytes:
    if name in _JSON:
        text: str = value
        return text.encode()
    if name in _MESSAGES:
        return to_json(_answered(name, json.loads(value)))
    return to_json(value)


def _long_value(connection: Connection, row: Mapping[Any, Any], name: str) -> Iterator[Part]:
    stored = StoredBytes(row["sequence"], row["updated_at"], name, 0, row[_OCTETS + name])
    if name in _TEXTS:
        yield from (b'"', stored.as_string(), b'"')
    elif name in _MESSAGES:
        outline = outline_of(stored.pieces(connection))
        text = to_json(_answered(name, outline.value))
        yield StoredStrings(stored, tuple(with_long_strings(text, outline)))
    else:
        yield stored


def _answered(name: str, value: Any) -> Any:
    return answered_message(value) if name == "output_message" else [answered_message(one) for one in value]
