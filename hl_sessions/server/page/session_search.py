"""Which sessions belong into a part of the list: by position, filter and search."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    cast,
    exists,
    literal,
    or_,
    select,
    tuple_,
)

from hl_sessions.server.page.filters import Cursor, SessionFilter
from hl_sessions.server.tables import logs, sessions

SIZE: Final = 50
"""How many sessions a part of the list holds."""

SCANNED: Final = 2000
"""How many sessions one search looks into, so that its time does not grow with the database."""

_POSITION: Final = (sessions.c.created_at, sessions.c.sequence)
"""What the list is ordered by: two sessions may have begun at the same time."""


class UnknownCursorError(LookupError):
    """The session where the part of the list begins is gone."""


@dataclass(frozen=True)
class FoundSessions:
    """The sessions of a part of the list.

    Args:
        ids: Their IDs, newest first.
        has_newer: Whether there may be newer ones than these.
        has_older: Whether there are older ones.
        scanned_to: Where a search has stopped before the end of the list, if it has: the ID of the last
            session that it looked into.
    """

    ids: Sequence[str]
    has_newer: bool
    has_older: bool
    scanned_to: str | None


def find_sessions(
    connection: Connection, organisation_id: int, wanted: SessionFilter, cursor: Cursor
) -> FoundSessions:
    """Find the sessions of a part of the list.

    Raises:
        UnknownCursorError: When the session at which the part begins is not there.
    """
    candidates: Select[Any] = select(sessions.c.id, *_POSITION).where(
        sessions.c.organisation_id == organisation_id, *_conditions(wanted)
    )
    known = wanted.search and _find_identified(connection, organisation_id, wanted.search)
    if known:
        candidates = candidates.where(sessions.c.id == known)
    candidates = _placed(candidates, connection, organisation_id, cursor)
    inside = _condition_inside(wanted, is_known=bool(known))
    if inside is None:
        found, scanned_to = list(connection.scalars(candidates.limit(SIZE + 1))), None
    else:
        found, scanned_to = _scan(connection, candidates, inside)
    has_more = len(found) > SIZE
    del found[SIZE:]
    if cursor.after is not None:
        return FoundSessions(found[::-1], has_newer=has_more, has_older=True, scanned_to=None)
    return FoundSessions(found, cursor.before is not None, has_more, None if has_more else scanned_to)


def _scan(
    connection: Connection, candidates: Select[Any], inside: ColumnElement[bool]
) -> tuple[list[str], str | None]:
    scanned = candidates.limit(SCANNED).subquery()
    of_candidate = exists().where(logs.c.session_id == scanned.c.id, inside)
    query = (
        select(scanned.c.id)
        .where(of_candidate)
        .order_by(scanned.c.created_at.desc(), scanned.c.sequence.desc())
    )
    last = connection.scalar(candidates.offset(SCANNED - 1).limit(1))
    return list(connection.scalars(query.limit(SIZE + 1))), last


def _conditions(wanted: SessionFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.begin is not None:
        conditions.append(sessions.c.created_at >= wanted.begin)
    if wanted.end is not None:
        conditions.append(sessions.c.created_at < wanted.end)
    if wanted.project_id is not None:
        conditions.append(
            exists().where(logs.c.project_id == wanted.project_id, logs.c.session_id == sessions.c.id)
        )
    return conditions


def _find_identified(connection: Connection, organisation_id: int, text: str) -> str | None:
    """Give the ID of the one session that the text names by an ID or a reference of itself or a datapoint."""
    for table, session_id in ((sessions, sessions.c.id), (logs, logs.c.session_id)):
        for name in ("id", "reference_id"):
            query = select(session_id).where(
                table.c.organisation_id == organisation_id, table.c[name] == text
            )
            found: str | None = connection.scalar(query)
            if found is not None:
                return found
    return None


def _placed(
    candidates: Select[Any], connection: Connection, organisation_id: int, cursor: Cursor
) -> Select[Any]:
    """Put the candidates in order, beginning at the cursor."""
    newest_first = candidates.order_by(*(column.desc() for column in _POSITION))
    session_id = cursor.before or cursor.after
    if session_id is None:
        return newest_first
    query = select(*_POSITION).where(
        sessions.c.id == session_id, sessions.c.organisation_id == organisation_id
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownCursorError(session_id)
    position = tuple_(*(literal(value, column.type) for value, column in zip(row, _POSITION, strict=True)))
    if cursor.before is not None:
        return newest_first.where(tuple_(*_POSITION) < position)
    return candidates.where(tuple_(*_POSITION) > position).order_by(*_POSITION)


def _condition_inside(wanted: SessionFilter, *, is_known: bool) -> ColumnElement[bool] | None:
    """Give what has to be true of one of the datapoints of a session, if anything."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.errors:
        conditions.append(logs.c.error.is_not(None))
    if wanted.search is not None and not is_known:
        # Stored JSON may have written the same character in either way.
        as_json = {json.dumps(wanted.search, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
        texts = [(column, wanted.search) for column in (logs.c.output, logs.c.error)] + [
            (cast(column, Text), text)
            for column in (logs.c.inputs, logs.c.messages, logs.c.metadata)
            for text in sorted(as_json)
        ]
        conditions.append(or_(*(column.icontains(text, autoescape=True) for column, text in texts)))
    return and_(*conditions) if conditions else None
