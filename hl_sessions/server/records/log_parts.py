"""Answers datapoints in parts: short values at once, and long values piece by piece."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, Row, Select, Text, cast, select

from hl_sessions.server.database.in_parts import in_parts, in_parts_of_size
from hl_sessions.server.database.stored_text import octets_of
from hl_sessions.server.database.tables import logs, projects, sessions
from hl_sessions.server.protocol.long_json import outline_of, with_long_strings
from hl_sessions.server.protocol.messages import answered_message
from hl_sessions.server.records.feedback import feedback_on
from hl_sessions.server.records.parts import AT_ONCE, Part, StoredBytes, StoredStrings

_LONG: Final = 64 * 1024
"""The length, in bytes, from which on a value is not read with its row."""

_JSON: Final = ("config", "metadata", "inputs", "provider_request", "provider_response")
_MESSAGES: Final = ("messages", "output_message")
_STORED_JSON: Final = (*_JSON, *_MESSAGES)
_TEXTS: Final = (
    *("config_id", "environment", "source", "source_datapoint_id"),
    *("output", "error", "stdout"),
)
VALUES: Final = (*_STORED_JSON, *_TEXTS, "judgment")
"""The columns whose values have no fixed length."""

_NOT_SHORT: Final = {"organisation_id", *VALUES}
_OCTETS: Final = "octets_of_"
_MEASURED: Final = select(logs.c.sequence, *(octets_of(logs.c[name]).label(name) for name in VALUES))
# Empty, because this server runs no evaluators.
_SAID_BY_THE_SERVER: Final = {"evaluation_results": [], "observability_status": "completed"}


def parts_of_log(connection: Connection, *conditions: ColumnElement[bool]) -> list[Part] | None:
    """Return the parts of the datapoint that the conditions select, or ``None``."""
    row = connection.execute(_MEASURED.where(*conditions)).one_or_none()
    return None if row is None else [_Logs([_Measured.of(row)], are_first=True)]


def parts_of_logs(connection: Connection, sequences: Sequence[int]) -> list[Part]:
    """Return the parts of datapoints in their order, with commas between them.

    The first part must be read in the same transaction: no comma is before it, so it must not be empty.
    """
    parts: list[Part] = []
    for some in _in_batches(connection, sequences):
        parts.append(_Logs(some, are_first=not parts))
    return parts


def parts_of_each_log(connection: Connection, sequences: Sequence[int]) -> dict[int, list[Part]]:
    """Return the parts of each of the datapoints separately."""
    parts: dict[int, list[Part]] = {}
    for some in _in_batches(connection, sequences):
        parts |= _read(connection, some)
    return parts


@dataclass(frozen=True)
class _Measured:
    """A datapoint, and its long values.

    Args:
        sequence: The sequence of the datapoint.
        size: The total length of its values, in bytes.
        long_values: The names of the values that are not read with the others.
    """

    sequence: int
    size: int
    long_values: Sequence[str]

    @classmethod
    def of(cls, row: Row[Any]) -> "_Measured":
        found = row._mapping
        lengths: dict[str, int] = {name: found[name] or 0 for name in VALUES}
        size = sum(lengths.values())
        are_long = size > AT_ONCE
        return cls(row.sequence, size, tuple(name for name in VALUES if are_long and lengths[name] > _LONG))


@dataclass(frozen=True)
class _Logs:
    """Some datapoints: several short ones, or one.

    Args:
        measured: The datapoints, in the order of the answer.
        are_first: Whether they begin the answer.
    """

    measured: Sequence[_Measured]
    are_first: bool

    def read(self, connection: Connection) -> Sequence[Part]:
        """Return the parts of those datapoints that still exist."""
        parts_of = _read(connection, self.measured)
        parts: list[Part] = []
        for log in self.measured:
            if log.sequence in parts_of:
                if parts or not self.are_first:
                    parts.append(b",")
                parts += parts_of[log.sequence]
        return parts


def _in_batches(connection: Connection, sequences: Sequence[int]) -> Iterator[Sequence[_Measured]]:
    """Divide datapoints into batches that can be read together."""
    measured: dict[int, _Measured] = {}
    for some in in_parts(sequences):
        rows = connection.execute(_MEASURED.where(logs.c.sequence.in_(some)))
        measured.update((row.sequence, _Measured.of(row)) for row in rows)
    return in_parts_of_size(((log := measured[sequence], log.size) for sequence in sequences), AT_ONCE)


def _read(connection: Connection, measured: Sequence[_Measured]) -> dict[int, list[Part]]:
    long_values = measured[0].long_values
    query = _described(long_values).where(logs.c.sequence.in_([log.sequence for log in measured]))
    rows: Sequence[Mapping[Any, Any]] = connection.execute(query).mappings().all()
    feedback = feedback_on(connection, "log_id", [row["id"] for row in rows])
    return {
        row["sequence"]: list(_log(connection, row, long_values, feedback.get(row["id"]))) for row in rows
    }


@cache
def _described(left_out: Sequence[str]) -> Select[Any]:
    """Build the query of datapoints, with only the lengths of some of their values."""
    parents = logs.alias("parents")
    return (
        select(
            *(column for column in logs.c if column.name not in _NOT_SHORT),
            # As they are stored.
            *(cast(logs.c[name], Text).label(name) for name in _STORED_JSON if name not in left_out),
            *(logs.c[name] for name in (*_TEXTS, "judgment") if name not in left_out),
            *(octets_of(logs.c[name]).label(_OCTETS + name) for name in left_out),
            projects.c.name.label("project"),
            sessions.c.reference_id.label("session_reference_id"),
            parents.c.reference_id.label("parent_reference_id"),
        )
        .select_from(logs)
        .join(projects, projects.c.id == logs.c.project_id)
        .outerjoin(sessions, sessions.c.id == logs.c.session_id)
        .outerjoin(parents, parents.c.id == logs.c.parent_id)
    )


def _log(
    connection: Connection,
    row: Mapping[Any, Any],
    long_values: Sequence[str],
    feedback: Sequence[Mapping[str, Any]] | None,
) -> Iterator[Part]:
    # As plain strings, because dumping SQLAlchemy's own takes several times as long.
    short = {
        str(name): value for name, value in row.items() if value is not None and name not in _STORED_JSON
    }
    for name in ("sequence", *(_OCTETS + name for name in long_values)):
        del short[name]
    if feedback is not None:
        short["feedback"] = feedback
    json_parts = [to_json(short | _SAID_BY_THE_SERVER)[:-1]]
    for name in _STORED_JSON:
        text = row.get(name)
        if text is not None:
            json_parts.append(_before(name))
            json_parts.append(
                to_json(_answered(name, json.loads(text))) if name in _MESSAGES else text.encode()
            )
    yield b"".join(json_parts)
    for name in long_values:
        length = row[_OCTETS + name]
        yield _before(name)
        yield from _long_value(
            connection, name, StoredBytes(row["sequence"], row["updated_at"], name, 0, length)
        )
    yield b"}"


def _before(name: str) -> bytes:
    return f',"{name}":'.encode()


def _long_value(connection: Connection, name: str, stored: StoredBytes) -> Iterator[Part]:
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
