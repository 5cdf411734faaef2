"""Which sessions belong into a part of the list: by position, filter and search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Tuple, and_, literal, or_, select, tuple_

from hl_sessions.server.database.tables import logs, project_sessions, sessions
from hl_sessions.server.database.text_search import json_contains, text_contains
from hl_sessions.server.page.queries.filters import Cursor, SessionFilter

SIZE: Final = 50
"""How many sessions a part of the list holds."""

SCANNED: Final = 5000
"""How many sessions one search looks into, so that its time does not grow with the database."""


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
    candidates, order = _candidates(organisation_id, wanted)
    known = wanted.search and _find_identified(connection, organisation_id, wanted.search)
    if known:
        candidates = candidates.where(sessions.c.id == known)
    session_id = cursor.before or cursor.after
    if session_id is not None:
        position = _position_of(connection, organisation_id, session_id, order)
        here = tuple_(*order)
        candidates = candidates.where(here > position if cursor.after else here < position)
    # Away from the cursor.
    candidates = candidates.order_by(*(order if cursor.after else (column.desc() for column in order)))
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


def _candidates(
    organisation_id: int, wanted: SessionFilter
) -> tuple[Select[Any], tuple[ColumnElement[Any], ...]]:
    """Give the sessions that the filter is about, and the columns of an index with them in order."""
    query = select(sessions.c.id).where(sessions.c.organisation_id == organisation_id)
    if wanted.begin is not None:
        query = query.where(sessions.c.created_at >= wanted.begin)
    if wanted.end is not None:
        query = query.where(sessions.c.created_at < wanted.end)
    if wanted.project_id is None:
        return query, (sessions.c.created_at, sessions.c.sequence)
    in_project = project_sessions.c.session_sequence == sessions.c.sequence
    query = query.join_from(project_sessions, sessions, in_project).where(
        project_sessions.c.project_id == wanted.project_id
    )
    return query, (project_sessions.c.session_sequence,)


def _position_of(
    connection: Connection, organisation_id: int, session_id: str, order: tuple[ColumnElement[Any], ...]
) -> Tuple:
    query = select(sessions.c.created_at, sessions.c.sequence).where(
        sessions.c.id == session_id, sessions.c.organisation_id == organisation_id
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownCursorError(session_id)
    values = row[-len(order) :]
    return tuple_(*(literal(value, column.type) for value, column in zip(values, order, strict=True)))


def _scan(
    connection: Connection, candidates: Select[Any], inside: ColumnElement[bool]
) -> tuple[list[str], str | None]:
    """Look into the next candidates; gives those that match, and the last one if there may be more."""
    scanned = list(connection.scalars(candidates.limit(SCANNED)))
    matching = select(logs.c.session_id).where(logs.c.session_id.in_(scanned), inside).distinct()
    matches = set(connection.scalars(matching))
    found = [session_id for session_id in scanned if session_id in matches]
    return found[: SIZE + 1], scanned[-1] if len(scanned) == SCANNED else None


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


def _condition_inside(wanted: SessionFilter, *, is_known: bool) -> ColumnElement[bool] | None:
    """Give what has to be true of one of the datapoints of a session, if anything."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.errors:
        conditions.append(logs.c.error.is_not(None))
    if wanted.search is not None and not is_known:
        texts = (text_contains(column, wanted.search) for column in (logs.c.output, logs.c.error))
        payloads = (
            json_contains(column, wanted.search)
            for column in (logs.c.inputs, logs.c.messages, logs.c.metadata)
        )
        conditions.append(or_(*texts, *payloads))
    return and_(*conditions) if conditions else None
