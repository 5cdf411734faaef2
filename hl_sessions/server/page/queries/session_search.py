"""Which sessions belong into a part of the list: by position, filter and search."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Tuple,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from hl_sessions.server.database.search_index import Newest, is_one_of, newest_matches, parts_to_search
from hl_sessions.server.database.tables import logs, project_sessions, projects, sessions
from hl_sessions.server.database.text_search import json_contains, text_contains
from hl_sessions.server.page.queries.filters import Cursor, SessionFilter

SIZE: Final = 50
"""How many sessions a part of the list holds."""

_FEW_ERRORS: Final = 5_000
"""How many datapoints with an error are looked at in order to find their sessions."""


class UnknownCursorError(LookupError):
    """The session where the part of the list begins is gone."""


@dataclass(frozen=True)
class FoundSessions:
    """The sessions of a part of the list.

    Args:
        ids: Their IDs, newest first.
        has_newer: Whether there may be newer ones than these.
        has_older: Whether there are older ones.
    """

    ids: Sequence[str]
    has_newer: bool
    has_older: bool


def find_sessions(
    connection: Connection,
    organisation_id: int,
    wanted: SessionFilter,
    cursor: Cursor,
    size: int = SIZE,
) -> FoundSessions:
    """Find the sessions of a part of the list.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        wanted: Which sessions the list has.
        cursor: Where the part begins.
        size: How many sessions it holds, at most.

    Raises:
        UnknownCursorError: When the session at which the part begins is not there.
    """
    known = wanted.search and _find_identified(connection, organisation_id, wanted.search)
    conditions = list(_conditions(connection, organisation_id, wanted, cursor))
    if known:
        conditions.append(sessions.c.id == known)
    elif wanted.search is not None:
        inside = _condition_inside(wanted, wanted.search)
        found = None
        if cursor.after is None:
            found = _search(connection, organisation_id, wanted, conditions, inside, size=size)
        if found is not None:
            return FoundSessions(found[:size], cursor.before is not None, has_older=len(found) > size)
        conditions.append(exists().where(logs.c.session_id == sessions.c.id, inside))
    are_few = False
    if wanted.errors and (known or wanted.search is None):
        are_few = _are_few_errors(connection)
        conditions.append(_HAS_FEW_ERRORS if are_few else _HAS_ERROR)
    found = _list(
        connection,
        organisation_id,
        wanted,
        conditions,
        size=size,
        ascending=bool(cursor.after),
        are_few=are_few,
    )
    has_more = len(found) > size
    del found[size:]
    if cursor.after is not None:
        return FoundSessions(found[::-1], has_newer=has_more, has_older=True)
    return FoundSessions(found, cursor.before is not None, has_more)


def _conditions(
    connection: Connection, organisation_id: int, wanted: SessionFilter, cursor: Cursor
) -> Iterator[ColumnElement[bool]]:
    """Yield what has to be true of a session beside its organisation and project."""
    if wanted.begin is not None:
        yield sessions.c.created_at >= wanted.begin
    if wanted.end is not None:
        yield sessions.c.created_at < wanted.end
    session_id = cursor.before or cursor.after
    if session_id is not None:
        order = _order_of(wanted)
        position = _position_of(connection, organisation_id, session_id, order)
        here = tuple_(*order)
        yield here > position if cursor.after else here < position


def _order_of(wanted: SessionFilter) -> tuple[Column[Any], ...]:
    """Return the columns of an index that has the sessions in order."""
    in_order = (sessions.c.created_at, sessions.c.sequence)
    return in_order if wanted.project_id is None else in_order[1:]


def _position_of(
    connection: Connection, organisation_id: int, session_id: str, order: Sequence[Column[Any]]
) -> Tuple:
    query = select(*order).where(sessions.c.id == session_id, sessions.c.organisation_id == organisation_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownCursorError(session_id)
    return tuple_(*(literal(value, column.type) for value, column in zip(row, order, strict=True)))


def _list(
    connection: Connection,
    organisation_id: int,
    wanted: SessionFilter,
    conditions: Sequence[ColumnElement[bool]],
    *,
    size: int,
    ascending: bool,
    are_few: bool,
) -> list[str]:
    """Look at one session after the other, away from the cursor, or at the few that the conditions name."""
    # No index has such an expression.
    in_organisation = sessions.c.organisation_id + 0 if are_few else sessions.c.organisation_id
    query = select(sessions.c.id).where(in_organisation == organisation_id, *conditions)
    order: Sequence[ColumnElement[Any]] = _order_of(wanted)
    if wanted.project_id is not None:
        in_project = project_sessions.c.session_sequence == sessions.c.sequence
        query = query.join_from(project_sessions, sessions, in_project)
        project_id: ColumnElement[str] = project_sessions.c.project_id
        query = query.where((project_id.concat("") if are_few else project_id) == wanted.project_id)
        order = [project_sessions.c.session_sequence]
    query = query.order_by(*(order if ascending else (column.desc() for column in order)))
    return list(connection.scalars(query.limit(size + 1)))


def _search(
    connection: Connection,
    organisation_id: int,
    wanted: SessionFilter,
    conditions: Sequence[ColumnElement[bool]],
    inside: ColumnElement[bool],
    *,
    size: int,
) -> list[str] | None:
    """Look into the datapoints that may hold the text, unless it is less work to look into all sessions."""
    datapoints = _count_datapoints(connection, organisation_id, wanted.project_id)
    parts = parts_to_search(connection, [wanted.search or ""], datapoints)
    if parts is None:
        return None
    # By expressions, which no index has: the datapoints are found by their sequences.
    matching = [logs.c.organisation_id + 0 == organisation_id, inside, *conditions]
    if wanted.project_id is not None:
        of_session = project_sessions.c.session_sequence == sessions.c.sequence
        is_project = project_sessions.c.project_id.concat("") == wanted.project_id
        matching.append(exists().where(of_session, is_project))
    order = _order_of(wanted)

    def find(sequences: Sequence[int]) -> Iterable[tuple[Any, ...]]:
        query = select(*order, sessions.c.id).join_from(logs, sessions, sessions.c.id == logs.c.session_id)
        return map(tuple, connection.execute(query.where(is_one_of(logs.c.sequence, sequences), *matching)))

    def bound(newest: Newest) -> tuple[Any, ...]:
        return (newest.session_at, newest.session)[-len(order) :]

    return [session_id for *_, session_id in newest_matches(parts, bound, find, size + 1)]


def _count_datapoints(connection: Connection, organisation_id: int, project_id: str | None) -> int:
    query = select(func.coalesce(func.sum(projects.c.datapoints_count), 0)).where(
        projects.c.organisation_id == organisation_id
    )
    if project_id is not None:
        query = query.where(projects.c.id == project_id)
    return int(connection.scalar(query) or 0)


_IS_ERROR: Final = logs.c.error.is_not(None)
_HAS_ERROR: Final = exists().where(logs.c.session_id == sessions.c.id, _IS_ERROR)
_HAS_FEW_ERRORS: Final = sessions.c.id.in_(select(logs.c.session_id).where(_IS_ERROR))
"""The same where errors are rare: they are looked up, rather than the sessions."""


def _are_few_errors(connection: Connection) -> bool:
    some = select(literal(1)).select_from(logs).where(_IS_ERROR).limit(_FEW_ERRORS + 1)
    return len(connection.scalars(some).all()) <= _FEW_ERRORS


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


def _condition_inside(wanted: SessionFilter, search: str) -> ColumnElement[bool]:
    """Build what has to be true of one of the datapoints of a session."""
    texts = [text_contains(column, search) for column in (logs.c.output, logs.c.error)]
    payloads = [json_contains(column, search) for column in (logs.c.inputs, logs.c.messages, logs.c.metadata)]
    found = or_(*texts, *payloads)
    return and_(logs.c.error.is_not(None), found) if wanted.errors else found
