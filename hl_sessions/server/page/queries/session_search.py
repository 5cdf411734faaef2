"""Which sessions a filter finds, and which of them belong into a part of the list."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Float,
    Select,
    String,
    Tuple,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy import (
    Text as TextType,
)

from hl_sessions.server.database.search_index import (
    Newest,
    Part,
    all_matches,
    is_one_of,
    newest_matches,
    parts_to_search,
)
from hl_sessions.server.database.tables import logs, project_sessions, projects, sessions
from hl_sessions.server.page.queries.filter_conditions import (
    TOTALS,
    has_datapoint,
    holds,
    holds_inside,
    texts_of,
)
from hl_sessions.server.page.queries.filter_language import Condition, Term, Text
from hl_sessions.server.page.queries.filters import Cursor, SessionFilter

SIZE: Final = 50
"""How many sessions a part of the list holds."""

MOST_SORTED: Final = 100_000
"""How many of the sessions found a sort by anything but their begin looks at: the newest ones."""

_FEW_ERRORS: Final = 5_000
"""How many datapoints with an error are looked at in order to find their sessions."""

_LEAST: Final = -1e308
"""What stands for a number that there is not, in a sort."""


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


@dataclass(frozen=True)
class _Search:
    """What a filter comes to in a database.

    Args:
        organisation_id: The organisation of the reader.
        project_id: A project that has a datapoint in each of the sessions; ``None``: any or none.
        conditions: What has to be true of the sessions.
        inside: What has to be true of one of the datapoints that ``parts`` have.
        parts: Where the datapoints are that may be so; ``None``: the conditions are all that there is.
        are_few: Whether the conditions name a few sessions, which are looked up.
    """

    organisation_id: int
    project_id: str | None
    conditions: Sequence[ColumnElement[bool]]
    inside: ColumnElement[bool]
    parts: Sequence[Part] | None
    are_few: bool


def matching(connection: Connection, organisation_id: int, wanted: SessionFilter) -> Select[tuple[int]]:
    """Return the statement that finds the sequences of all sessions that a filter finds, in no order.

    Args:
        connection: The connection of the transaction, in which the statement is to be used.
        organisation_id: The organisation of the reader.
        wanted: The filter; its order does not matter.
    """
    search = _plan(connection, organisation_id, wanted)
    query = select(sessions.c.sequence).where(sessions.c.organisation_id == organisation_id)
    if search.parts is None:
        return query.where(*search.conditions, *_in_project(search))

    def find(sequences: Sequence[int]) -> Iterable[int]:
        return connection.scalars(_select_inside(search, [sessions.c.sequence], sequences))

    return query.where(is_one_of(sessions.c.sequence, all_matches(search.parts, find)))


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
        wanted: Which sessions the list has, and in which order.
        cursor: Where the part begins.
        size: How many sessions it holds, at most.

    Raises:
        UnknownCursorError: When the session at which the part begins is not there.
    """
    if wanted.sort is not None:
        query = _sorted(connection, organisation_id, wanted, cursor)
        found: list[str] = list(connection.scalars(query.limit(size + 1)))
    else:
        found = _find_newest(connection, organisation_id, wanted, cursor, size + 1)
    has_more = len(found) > size
    del found[size:]
    if cursor.after is not None:
        return FoundSessions(found[::-1], has_newer=has_more, has_older=True)
    return FoundSessions(found, cursor.before is not None, has_more)


def sort_limit(wanted: SessionFilter) -> int | None:
    """Return among how many of the sessions found those come first that a sort asks for; ``None``: all."""
    return MOST_SORTED if wanted.order.removeprefix("-") != "began" else None


def _plan(connection: Connection, organisation_id: int, wanted: SessionFilter) -> _Search:
    conditions, project_id, parts = [], None, None
    of_parts: Term | None = None
    inside: list[Term] = []
    are_few = False
    for term in wanted.terms:
        known = None
        if isinstance(term, Text) and not term.negated:
            known = _find_identified(connection, organisation_id, term.text)
        if known is not None:
            conditions.append(sessions.c.id == known)
        elif (
            project_id is None and isinstance(term, Condition) and term.name == "project" and not term.negated
        ):
            # Without such a project, no session has it.
            project_id = _find_project(connection, organisation_id, str(term.value)) or ""
        elif texts_of(term) and not term.negated:
            inside.append(term)
        elif term == _WITH_ERRORS:
            are_few = not wanted.search and _are_few_errors(connection)
            conditions.append(_HAS_FEW_ERRORS if are_few else _HAS_ERROR)
        else:
            conditions.append(holds(term))
    datapoints = _count_datapoints(connection, organisation_id, project_id) if inside else 0
    for term in inside:
        found = parts_to_search(connection, texts_of(term), datapoints)
        if found is not None and (parts is None or _size_of(found) < _size_of(parts)):
            parts, of_parts = found, term
    conditions += [holds(term) for term in inside if term is not of_parts]
    of_datapoint = None if of_parts is None else holds_inside(of_parts)
    return _Search(
        organisation_id=organisation_id,
        project_id=project_id,
        conditions=conditions,
        inside=true() if of_datapoint is None else of_datapoint,
        parts=parts,
        are_few=are_few,
    )


def _size_of(parts: Sequence[Part]) -> int:
    return sum(part.size for part in parts)


def _find_project(connection: Connection, organisation_id: int, name: str) -> str | None:
    query = select(projects.c.id).where(
        projects.c.organisation_id == organisation_id, or_(projects.c.id == name, projects.c.name == name)
    )
    found: str | None = connection.scalar(query.limit(1))
    return found


def _find_newest(
    connection: Connection, organisation_id: int, wanted: SessionFilter, cursor: Cursor, most: int
) -> list[str]:
    """Return the IDs of sessions in the order of their begins, away from the cursor."""
    search = _plan(connection, organisation_id, wanted)
    order = _order_of(search)
    session_id = cursor.before or cursor.after
    beyond: list[ColumnElement[bool]] = []
    if session_id is not None:
        position = _position_of(connection, organisation_id, session_id, order)
        here = tuple_(*order)
        beyond.append(here > position if cursor.after else here < position)
    if search.parts is None:
        return _list(connection, search, beyond, most, ascending=bool(cursor.after))
    if cursor.after is not None:
        # The index leads from the newest ones on.
        beyond.append(has_datapoint(search.inside))
        return _list(connection, search, beyond, most, ascending=True)

    def find(sequences: Sequence[int]) -> Iterable[tuple[Any, ...]]:
        query = _select_inside(search, [*order, sessions.c.id], sequences)
        return map(tuple, connection.execute(query.where(*beyond)))

    def bound(newest: Newest) -> tuple[Any, ...]:
        return (newest.session_at, newest.session)[-len(order) :]

    return [session_id for *_, session_id in newest_matches(search.parts, bound, find, most)]


def _select_inside(
    search: _Search, columns: Sequence[ColumnElement[Any]], sequences: Sequence[int]
) -> Select[Any]:
    """Select those of some datapoints that belong to a session that is wanted."""
    query = select(*columns).join_from(logs, sessions, sessions.c.id == logs.c.session_id)
    # By expressions, which no index has: the datapoints are found by their sequences.
    of_reader = logs.c.organisation_id + 0 == search.organisation_id
    found = is_one_of(logs.c.sequence, sequences)
    return query.where(found, of_reader, search.inside, *search.conditions, *_in_project(search))


def _in_project(search: _Search) -> Iterator[ColumnElement[bool]]:
    if search.project_id is not None:
        of_session = project_sessions.c.session_sequence == sessions.c.sequence
        is_project = project_sessions.c.project_id.concat("") == search.project_id
        yield exists().where(of_session, is_project).correlate(sessions)


def _order_of(search: _Search) -> tuple[Column[Any], ...]:
    """Return the columns of an index that has the sessions in order."""
    in_order = (sessions.c.created_at, sessions.c.sequence)
    return in_order if search.project_id is None else in_order[1:]


def _position_of(
    connection: Connection, organisation_id: int, session_id: str, order: Sequence[ColumnElement[Any]]
) -> Tuple:
    query = select(*order).where(sessions.c.id == session_id, sessions.c.organisation_id == organisation_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownCursorError(session_id)
    return tuple_(*(literal(value, column.type) for value, column in zip(row, order, strict=True)))


def _list(
    connection: Connection,
    search: _Search,
    beyond: Sequence[ColumnElement[bool]],
    most: int,
    *,
    ascending: bool,
) -> list[str]:
    """Look at one session after the other, away from the cursor, or at the few that the conditions name."""
    # No index has such an expression.
    in_organisation = sessions.c.organisation_id + 0 if search.are_few else sessions.c.organisation_id
    query = select(sessions.c.id).where(
        in_organisation == search.organisation_id, *search.conditions, *beyond
    )
    order: Sequence[ColumnElement[Any]] = _order_of(search)
    if search.project_id is not None:
        in_project = project_sessions.c.session_sequence == sessions.c.sequence
        query = query.join_from(project_sessions, sessions, in_project)
        project_id: ColumnElement[str] = project_sessions.c.project_id
        query = query.where((project_id.concat("") if search.are_few else project_id) == search.project_id)
        order = [project_sessions.c.session_sequence]
    query = query.order_by(*(order if ascending else (column.desc() for column in order)))
    return list(connection.scalars(query.limit(most)))


def _sorted(
    connection: Connection, organisation_id: int, wanted: SessionFilter, cursor: Cursor
) -> Select[Any]:
    """Select the IDs of sessions in the order of a column, away from the cursor."""
    column = wanted.order.removeprefix("-")
    key = _sort_key(TOTALS[column])
    found = (
        matching(connection, organisation_id, wanted)
        .add_columns(sessions.c.id, key.label("key"))
        .order_by(sessions.c.created_at.desc(), sessions.c.sequence.desc())
    )
    newest = found.limit(sort_limit(wanted)).subquery()
    order = (newest.c.key, newest.c.sequence)
    query = select(newest.c.id)
    session_id = cursor.before or cursor.after
    ascending = wanted.order == column
    if session_id is not None:
        position = _position_of(connection, organisation_id, session_id, [key, sessions.c.sequence])
        # What is before the cursor comes after it in the list.
        is_greater = ascending == (cursor.before is not None)
        here = tuple_(*order)
        query = query.where(here > position if is_greater else here < position)
    forwards = ascending != (cursor.after is not None)
    return query.order_by(*(order if forwards else (part.desc() for part in order)))


def _sort_key(column: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, String | TextType):
        return func.coalesce(column, "")
    return func.coalesce(column, _LEAST) if isinstance(column.type, Float) else column


def _count_datapoints(connection: Connection, organisation_id: int, project_id: str | None) -> int:
    query = select(func.coalesce(func.sum(projects.c.datapoints_count), 0)).where(
        projects.c.organisation_id == organisation_id
    )
    if project_id is not None:
        query = query.where(projects.c.id == project_id)
    return int(connection.scalar(query) or 0)


_WITH_ERRORS: Final = Condition("errors", ">", 0)
_IS_ERROR: Final = logs.c.error.is_not(None)
_HAS_ERROR: Final = has_datapoint(_IS_ERROR)
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
