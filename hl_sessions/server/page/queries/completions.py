"""Completions of a filter that is being typed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Select, case, select, type_coerce

from hl_sessions.server.database.stored_text import octets_of
from hl_sessions.server.database.tables import feedback, labels, logs, sessions
from hl_sessions.server.finding.filter_language import (
    FIELDS,
    METADATA,
    Kind,
    Unfinished,
    field_of,
    unfinished,
    write_value,
)
from hl_sessions.server.finding.filters import is_line
from hl_sessions.server.page.queries.project_list import name_projects
from hl_sessions.server.records.labels import COUNTED_KINDS

_MOST: Final = 12
_LONGEST_VALUE: Final = 100

_MOST_LABELS: Final = 1_000
"""The number of sources, models or environments that are looked at, the newest ones."""

_RECENT_SESSIONS: Final = 200
_RECENT_DATAPOINTS: Final = 500
"""The number of newest sessions, and of their datapoints, in which values are looked for."""

_LARGEST_METADATA: Final = 4_096
"""The bytes of metadata that are read to find its keys."""


@dataclass(frozen=True)
class Option:
    """A suggestion for the text that is being typed.

    Args:
        text: The text.
        about: Its description.
    """

    text: str
    about: str


@dataclass(frozen=True)
class Completions:
    """Suggestions for the end of a filter.

    Args:
        typed: The end that they replace.
        options: The suggestions.
    """

    typed: str
    options: Sequence[Option]


def complete(connection: Connection, organisation_id: int, filter_text: str) -> Completions:
    """Find suggestions for the last term of a filter.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        filter_text: The filter, up to the cursor of the reader.
    """
    end = unfinished(filter_text)
    options = (
        _values(connection, organisation_id, end)
        if end.operator
        else _names(connection, organisation_id, end)
    )
    return Completions(end.typed, list(islice(options, _MOST)))


def _names(connection: Connection, organisation_id: int, end: Unfinished) -> Iterator[Option]:
    if end.name.startswith(METADATA):
        prefix = end.name.removeprefix(METADATA).casefold()
        for key in sorted({key for one in _recent_metadata(connection, organisation_id) for key in one}):
            name = METADATA + key
            # A key with a colon, for example, would be read as another one.
            if key.casefold().startswith(prefix) and field_of(name) and unfinished(f"{name}=").name == name:
                yield Option(f"{end.sign}{name}=", "metadata")
        return
    for name, field in FIELDS.items():
        if name.startswith(end.name.casefold()):
            following = {Kind.METADATA: ".", Kind.TEXT: ":", Kind.FEEDBACK: ":"}.get(field.kind, ">")
            yield Option(f"{end.sign}{name}{following}", field.about)


def _values(connection: Connection, organisation_id: int, end: Unfinished) -> Iterator[Option]:
    typed = end.value.casefold()
    for value in sorted(set(_values_of(connection, organisation_id, end.name)), key=str.casefold):
        if typed in value.casefold() and len(value) <= _LONGEST_VALUE and is_line(value):
            yield Option(f"{end.sign}{end.name}{end.operator}{write_value(value)} ", end.name)


def _values_of(connection: Connection, organisation_id: int, name: str) -> Iterable[str]:
    if name == "project":
        return [project.name for project in name_projects(connection, organisation_id)]
    if name.startswith(METADATA):
        key = name.removeprefix(METADATA)
        found = [one.get(key) for one in _recent_metadata(connection, organisation_id)]
        return [value for value in found if isinstance(value, str)]
    if name in COUNTED_KINDS:
        of_kind = (labels.c.organisation_id == organisation_id, labels.c.kind == name)
        query = select(labels.c.value).where(*of_kind).order_by(labels.c.sequence.desc())
        return connection.scalars(query.limit(_MOST_LABELS))
    queries: list[Any] = []
    if name == "user":
        queries = [_recent(organisation_id, sessions.c.user)]
    elif name == "feedback":
        on_datapoint = _recent(organisation_id, feedback.c.type)
        on_session = select(feedback.c.type).where(feedback.c.session_id.in_(_newest(organisation_id)))
        queries = [
            on_datapoint.join(feedback, feedback.c.log_id == logs.c.id),
            on_session.limit(_RECENT_DATAPOINTS),
        ]
    return [value for query in queries for value in connection.scalars(query) if value is not None]


def _recent_metadata(connection: Connection, organisation_id: int) -> list[dict[str, Any]]:
    told = select(_if_short(sessions.c.metadata)).where(sessions.c.id.in_(_newest(organisation_id)))
    queries = (_recent(organisation_id, _if_short(logs.c.metadata)), told)
    rows = (row for query in queries for row in connection.scalars(query))
    return [row for row in rows if isinstance(row, dict)]


def _if_short(column: Column[Any]) -> ColumnElement[Any]:
    return type_coerce(case((octets_of(column) <= _LARGEST_METADATA, column)), column.type)


def _newest(organisation_id: int) -> Select[tuple[str]]:
    return (
        select(sessions.c.id)
        .where(sessions.c.organisation_id == organisation_id)
        .order_by(sessions.c.created_at.desc(), sessions.c.sequence.desc())
        .limit(_RECENT_SESSIONS)
    )


def _recent(organisation_id: int, column: ColumnElement[Any]) -> Any:
    of_session = logs.c.session_id == sessions.c.id
    return (
        select(column)
        .select_from(sessions)
        .join(logs, of_session)
        .where(sessions.c.id.in_(_newest(organisation_id)))
        .limit(_RECENT_DATAPOINTS)
    )
