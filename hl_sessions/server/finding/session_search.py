"""Which sessions a filter finds, and which of them belong into a part of the list."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeGuard

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    exists,
    func,
    literal,
    select,
    true,
    tuple_,
)

from hl_sessions.server.database.search_index import (
    Newest,
    Part,
    all_matches,
    is_one_of,
    newest_matches,
    parts_to_search,
)
from hl_sessions.server.database.tables import logs, project_sessions, projects, session_totals, sessions
from hl_sessions.server.finding.few_sessions import find_few, find_few_of
from hl_sessions.server.finding.filter_conditions import (
    TOTALS,
    began,
    has_datapoint,
    has_member,
    holds,
    holds_inside,
    is_member,
    is_of_totals,
    is_project,
    may_hold,
    numbers_of,
    sessions_with_metadata,
    texts_of,
)
from hl_sessions.server.finding.filter_language import Condition, Term, Text
from hl_sessions.server.finding.filters import Cursor, SessionFilter

SIZE: Final = 50
"""The number of sessions in a part of the list."""

MOST_SORTED: Final = 100_000
"""How many of the sessions found a sort looks at: the newest ones."""

_NEWEST: Final = 50_000
"""Among how many of the newest sessions those of a part are looked for first."""

_SMALL_PROJECT: Final = 50_000
"""The number of sessions of a project up to which their totals are looked up one by one."""

_FEW_DATAPOINTS: Final = 20_000
"""The number of datapoints whose metadata are read before the sessions are read instead."""

_LEAST: Final = -1e308
"""The value of a missing number in a sort."""


class UnknownCursorError(LookupError):
    """The session where the part of the list begins is gone."""


@dataclass(frozen=True)
class FoundSessions:
    """The sessions of a part of the list.

    Args:
        ids: Their IDs, in the order of the list.
        has_newer: Whether there may be some before these.
        has_older: Whether there are some after these.
    """

    ids: Sequence[str]
    has_newer: bool
    has_older: bool


@dataclass(frozen=True)
class _Project:
    """A project, and how many sessions have a datapoint of it."""

    id: str
    sessions: int


_NO_PROJECT: Final = _Project("", 0)
"""A project that does not exist, so no session has it."""


@dataclass(frozen=True)
class _Search:
    """A filter as conditions of the database.

    Args:
        organisation_id: The organisation of the reader.
        project: A project whose sessions are read through; ``None``: those of all.
        few: The sequences of sessions that may be so; ``None``: any.
        conditions: The conditions on the sessions, and on their totals.
        uses_totals: Whether there are conditions on the totals.
        uses_sessions: Whether there are conditions on columns that are not in the totals.
        inside: The condition on one of the datapoints in ``parts``.
        parts: The datapoints that may meet it; ``None``: there are only the other conditions.
    """

    organisation_id: int
    project: _Project | None
    few: Collection[int] | None
    conditions: Sequence[ColumnElement[bool]]
    uses_totals: bool
    uses_sessions: bool
    inside: ColumnElement[bool]
    parts: Sequence[Part] | None

    @property
    def is_of_all_totals(self) -> bool:
        """Whether the totals of all sessions are looked through."""
        return self.uses_totals and self.few is None and self.project is None

    @property
    def order(self) -> tuple[ColumnElement[Any], ...]:
        """The columns of the table that is read through, in the order of an index."""
        if self.project is not None:
            return (project_sessions.c.session_sequence,)
        if self.uses_totals:
            return (session_totals.c.session_sequence,)
        return (sessions.c.created_at, sessions.c.sequence)


_OF_TOTALS: Final = session_totals.c.session_sequence == sessions.c.sequence


def matching(connection: Connection, organisation_id: int, wanted: SessionFilter) -> Select[Any]:
    """Return the query of the sequences of all sessions that a filter finds, in no order.

    Args:
        connection: The connection of the transaction, in which the statement is to be used.
        organisation_id: The organisation of the reader.
        wanted: The filter; its order does not matter.
    """
    search = _plan(connection, organisation_id, wanted)
    query = select(sessions.c.sequence).where(sessions.c.organisation_id == organisation_id)
    if search.parts is not None:
        return query.where(is_one_of(sessions.c.sequence, _look_into(connection, search, search.parts)))
    if search.uses_totals:
        query = query.join(session_totals, _OF_TOTALS)
    return query.where(*search.conditions, *_belongs(search, sessions.c.sequence))


def find_sessions(
    connection: Connection,
    organisation_id: int,
    wanted: SessionFilter,
    cursor: Cursor,
    size: int = SIZE,
    *further: ColumnElement[bool],
) -> FoundSessions:
    """Find the sessions of a part of the list.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        wanted: The filter and the order of the list.
        cursor: The place where the part begins.
        size: The greatest number of sessions.
        *further: Further conditions on the table of sessions.

    Raises:
        UnknownCursorError: When the session at which the part begins does not exist.
    """
    search = _plan(connection, organisation_id, wanted)
    if further:
        search = replace(search, conditions=[*search.conditions, *further], uses_sessions=True)
    if wanted.sort is None or (wanted.sort == "began" and not search.uses_totals):
        found = _find_in_order(connection, search, wanted, cursor, size + 1)
    else:
        found = _find_sorted(connection, search, wanted, cursor, size + 1)
    has_more = len(found) > size
    del found[size:]
    if cursor.after is not None:
        return FoundSessions(found[::-1], has_newer=has_more, has_older=True)
    return FoundSessions(found, cursor.before is not None, has_more)


def sort_limit(connection: Connection, organisation_id: int, wanted: SessionFilter) -> int | None:
    """Return how many of the found sessions, the newest, are sorted if there may be more; ``None``: all."""
    if wanted.order.removeprefix("-") == "began":
        return None
    newest = select(sessions.c.sequence).where(sessions.c.organisation_id == organisation_id)
    newest = newest.order_by(sessions.c.created_at.desc(), sessions.c.sequence.desc())
    has_more = connection.scalar(newest.offset(MOST_SORTED).limit(1)) is not None
    return MOST_SORTED if has_more else None


def _plan(connection: Connection, organisation_id: int, wanted: SessionFilter) -> _Search:
    # First and together, because they take the least time.
    conditions = may_hold(connection, organisation_id, wanted.terms)
    inside: list[Term] = []
    few, terms = find_few(connection, organisation_id, wanted.terms)
    of_project, project = _find_smallest_project(connection, organisation_id, terms)
    uses_totals = wanted.sort not in {None, "began"} or any(
        is_of_totals(term) and not _is_begin(term) for term in terms if term is not of_project
    )
    if project is not None and uses_totals and project.sessions > _SMALL_PROJECT:
        project = None
    if project is not None:
        terms = [term for term in terms if term is not of_project]
    uses_sessions = wanted.sort is not None and wanted.order.removeprefix("-") not in TOTALS
    for term in terms:
        if texts_of(term) and not term.negated:
            known = _find_identified(connection, organisation_id, term)
            told = _has_or_is_told(connection, organisation_id, term, few)
            if known is not None:
                conditions.append(sessions.c.id == known)
            elif told is not None:
                conditions.append(told)
            else:
                inside.append(term)
            uses_sessions = uses_sessions or known is not None or told is not None
        elif _is_begin(term) and not uses_totals:
            conditions.append(began(term))
        else:
            conditions.append(holds(connection, organisation_id, term))
        uses_sessions = uses_sessions or not is_of_totals(term) or not uses_totals
    datapoints = _count_datapoints(connection, organisation_id, project, few) if inside else 0
    parts, of_parts = _find_parts(connection, datapoints, inside)
    conditions += [holds(connection, organisation_id, term) for term in inside if term is not of_parts]
    of_datapoint = None if of_parts is None else holds_inside(of_parts)
    return _Search(
        organisation_id=organisation_id,
        project=project,
        few=few,
        conditions=conditions,
        uses_totals=uses_totals,
        uses_sessions=uses_sessions,
        inside=true() if of_datapoint is None else of_datapoint,
        parts=parts,
    )


def _has_or_is_told(
    connection: Connection, organisation_id: int, term: Term, few: Collection[int] | None
) -> ColumnElement[bool] | None:
    """Return the condition that a session, or one of its datapoints, has a term in its metadata.

    Returns:
        The condition; ``None`` when no session has the term in its own metadata, so the datapoints decide.
    """
    told, inside = sessions_with_metadata(organisation_id, term), holds_inside(term)
    if told is None or inside is None:
        return None
    few_told = find_few_of(connection, told)
    if few_told == set():
        return None
    datapoints = _count_datapoints(connection, organisation_id, None, few)
    parts = parts_to_search(connection, texts_of(term), datapoints, numbers_of(term))
    if parts is None or _size_of(parts) > _FEW_DATAPOINTS:
        return holds(connection, organisation_id, term)

    def find(sequences: Sequence[int]) -> Iterable[int]:
        of_datapoints = is_one_of(logs.c.sequence, sequences)
        query = select(sessions.c.sequence).join_from(logs, sessions, sessions.c.id == logs.c.session_id)
        return connection.scalars(query.where(of_datapoints, inside))

    found = all_matches(parts, find)
    if few_told is not None:
        return is_one_of(sessions.c.sequence, found | few_told)
    is_logged = is_one_of(sessions.c.sequence, found)
    if is_member(term):
        return has_member(connection, organisation_id, term, is_logged)
    return is_logged | sessions.c.sequence.in_(told)


def _is_in_project(term: Term) -> TypeGuard[Condition]:
    return isinstance(term, Condition) and term.name == "project" and not term.negated


def _is_begin(term: Term) -> TypeGuard[Condition]:
    return isinstance(term, Condition) and term.name == "began"


def _find_smallest_project(
    connection: Connection, organisation_id: int, terms: Sequence[Term]
) -> tuple[Term | None, _Project | None]:
    """Return the project that is in the fewest sessions of those that all of them need, and its term."""
    wanted = filter(_is_in_project, terms)
    found = [(term, _find_project(connection, organisation_id, term)) for term in wanted]
    return min(found, key=lambda one: one[1].sessions, default=(None, None))


def _find_project(connection: Connection, organisation_id: int, term: Condition) -> _Project:
    query = select(projects.c.id, projects.c.sessions_count).where(*is_project(organisation_id, term))
    row = connection.execute(query.limit(1)).one_or_none()
    return _NO_PROJECT if row is None else _Project(*row)


def _find_parts(
    connection: Connection, datapoints: int, inside: Sequence[Term]
) -> tuple[Sequence[Part] | None, Term | None]:
    """Return the fewest datapoints to read for one of the terms, and this term."""
    parts: Sequence[Part] | None = None
    of_parts = None
    for term in inside:
        found = parts_to_search(connection, texts_of(term), datapoints, numbers_of(term))
        # The totals rule out more than many parts.
        if found is None or (is_member(term) and _size_of(found) > _FEW_DATAPOINTS):
            continue
        if parts is None or _size_of(found) < _size_of(parts):
            parts, of_parts = found, term
    return parts, of_parts


def _size_of(parts: Sequence[Part]) -> int:
    return sum(part.size for part in parts)


def _look_into(connection: Connection, search: _Search, parts: Sequence[Part]) -> set[int]:
    def find(sequences: Sequence[int]) -> Iterable[int]:
        return connection.scalars(_select_inside(search, [sessions.c.sequence], sequences))

    return all_matches(parts, find)


def _find_in_order(
    connection: Connection, search: _Search, wanted: SessionFilter, cursor: Cursor, most: int
) -> list[str]:
    """Return the IDs of sessions by when they began, away from the cursor."""
    order = search.order
    in_order = (sessions.c.created_at, sessions.c.sequence)[-len(order) :]
    ascending = (cursor.after is not None) != (wanted.sort is not None)
    session_id = cursor.before or cursor.after
    position = None
    if session_id is not None:
        position = _position_of(connection, search, session_id, in_order)
    if search.parts is not None and not ascending:

        def find(sequences: Sequence[int]) -> Iterable[tuple[Any, ...]]:
            query = _select_inside(search, [*in_order, sessions.c.id], sequences)
            if position is not None:
                query = query.where(tuple_(*in_order) < tuple_(*position))
            return map(tuple, connection.execute(query))

        def bound(newest: Newest) -> tuple[Any, ...]:
            return (newest.session_at, newest.session)[-len(order) :]

        return [found for *_, found in newest_matches(search.parts, bound, find, most)]

    query = _look_through(search, order[-1])
    if search.parts is not None:
        # The index begins with the newest ones.
        query = query.where(has_datapoint(search.inside))
    if position is not None:
        is_behind = tuple_(*order) > tuple_(*position) if ascending else tuple_(*order) < tuple_(*position)
        query = query.where(is_behind)
    if search.is_of_all_totals:
        near = query.where(_near(connection, position, ascending=ascending))
        found = connection.scalars(_ordered(near, order, ascending=ascending).limit(most)).all()
        if len(found) == most:
            return _identify(connection, found)
        # By an expression, which no index has: to follow one takes longer than to read the whole table.
        order = (order[0] + 0,)
    query = _ordered(query, order, ascending=ascending)
    return _identify(connection, connection.scalars(query.limit(most)).all())


def _ordered(query: Select[Any], order: Sequence[ColumnElement[Any]], *, ascending: bool) -> Select[Any]:
    return query.order_by(*(order if ascending else (column.desc() for column in order)))


def _near(
    connection: Connection, position: Sequence[ColumnElement[Any]] | None, *, ascending: bool
) -> ColumnElement[bool]:
    """Build the condition that totals are among the first ones behind a position."""
    sequence = session_totals.c.session_sequence
    if position is None:
        newest = connection.scalar(select(func.max(sequence))) or 0
        return sequence > newest - _NEWEST
    [begin] = position
    return sequence < begin + _NEWEST if ascending else sequence > begin - _NEWEST


def _find_sorted(
    connection: Connection, search: _Search, wanted: SessionFilter, cursor: Cursor, most: int
) -> list[str]:
    """Return the IDs of sessions in the order of a column, away from the cursor."""
    column = wanted.order.removeprefix("-")
    key = _sort_key(column)
    sequence = search.order[-1]
    query = _look_through(search, sequence.label("sequence"), key.label("key"))
    if search.parts is not None:
        query = query.where(is_one_of(sequence, _look_into(connection, search, search.parts)))
    if column != "began":
        query = query.order_by(sequence.desc()).limit(MOST_SORTED)
    found = query.subquery()
    order = (found.c.key, found.c.sequence)
    sorted_query = select(found.c.sequence)
    session_id = cursor.before or cursor.after
    ascending = wanted.order == column
    if session_id is not None:
        position = _position_of(connection, search, session_id, (key, sessions.c.sequence))
        # Sessions before the cursor come after it in this order.
        is_greater = ascending == (cursor.before is not None)
        sorted_query = sorted_query.where(
            tuple_(*order) > tuple_(*position) if is_greater else tuple_(*order) < tuple_(*position)
        )
    forwards = ascending != (cursor.after is not None)
    sorted_query = sorted_query.order_by(*(order if forwards else (part.desc() for part in order)))
    sequences: Sequence[int] = connection.scalars(sorted_query.limit(most)).all()
    return _identify(connection, sequences)


def _sort_key(column: str) -> ColumnElement[Any]:
    if column not in TOTALS:
        return func.coalesce(sessions.c[column], "")
    return func.coalesce(TOTALS[column], _LEAST) if column == "duration" else TOTALS[column]


def _look_through(search: _Search, *columns: ColumnElement[Any]) -> Select[Any]:
    """Select sessions from the table that is read through."""
    sequence = search.order[-1]
    query = select(*columns).where(*_is_one_of_few(search, sequence), *search.conditions)
    if search.project is not None:
        # The project belongs to the organisation, and so do its sessions.
        query = query.select_from(project_sessions)
        query = query.where(project_sessions.c.project_id == search.project.id)
        if search.uses_totals:
            query = query.join(session_totals, session_totals.c.session_sequence == sequence)
    elif search.uses_totals:
        query = query.select_from(session_totals)
        query = query.where(session_totals.c.organisation_id == search.organisation_id)
    else:
        organisation_id: ColumnElement[int] = sessions.c.organisation_id
        # By an expression, which no index has: the few are found by their sequences.
        of_reader = organisation_id if search.few is None else organisation_id + 0
        return query.where(of_reader == search.organisation_id)
    return query.join(sessions, sessions.c.sequence == sequence) if search.uses_sessions else query


def _is_one_of_few(search: _Search, sequence: ColumnElement[int]) -> Iterator[ColumnElement[bool]]:
    if search.few is not None:
        yield is_one_of(sequence, search.few)


def _belongs(search: _Search, sequence: ColumnElement[int]) -> Iterator[ColumnElement[bool]]:
    yield from _is_one_of_few(search, sequence)
    if search.project is not None:
        of_session = project_sessions.c.session_sequence == sequence
        of_project = project_sessions.c.project_id == search.project.id
        yield exists(select(literal(1)).where(of_session, of_project).correlate(sessions, session_totals))


def _select_inside(
    search: _Search, columns: Sequence[ColumnElement[Any]], sequences: Sequence[int]
) -> Select[Any]:
    """Select those of some datapoints that belong to a wanted session."""
    query = select(*columns).join_from(logs, sessions, sessions.c.id == logs.c.session_id)
    if search.uses_totals:
        query = query.join(session_totals, _OF_TOTALS)
    # An expression, so that no index on it is used: the sequences find the datapoints.
    of_reader = logs.c.organisation_id + 0 == search.organisation_id
    found = is_one_of(logs.c.sequence, sequences)
    belongs = _belongs(search, sessions.c.sequence)
    return query.where(found, of_reader, search.inside, *search.conditions, *belongs)


def _position_of(
    connection: Connection, search: _Search, session_id: str, order: Sequence[ColumnElement[Any]]
) -> Sequence[ColumnElement[Any]]:
    query = select(*order).select_from(sessions).join(session_totals, _OF_TOTALS)
    of_reader = sessions.c.organisation_id == search.organisation_id
    row = connection.execute(query.where(sessions.c.id == session_id, of_reader)).one_or_none()
    if row is None:
        raise UnknownCursorError(session_id)
    return [literal(value, column.type) for value, column in zip(row, order, strict=True)]


def _identify(connection: Connection, sequences: Sequence[int]) -> list[str]:
    """Return the IDs of sessions of these sequences, in the same order."""
    query = select(sessions.c.sequence, sessions.c.id).where(sessions.c.sequence.in_(sequences))
    id_of = {row.sequence: row.id for row in connection.execute(query)}
    return [id_of[sequence] for sequence in sequences]


def _count_datapoints(
    connection: Connection, organisation_id: int, project: _Project | None, few: Collection[int] | None
) -> int:
    """Count those of the sessions among which the wanted ones are, as far as that takes a moment."""
    if few is not None:
        of_few = is_one_of(session_totals.c.session_sequence, few)
        return int(connection.scalar(select(func.sum(session_totals.c.datapoints)).where(of_few)) or 0)
    query = select(func.coalesce(func.sum(projects.c.datapoints_count), 0)).where(
        projects.c.organisation_id == organisation_id
    )
    if project is not None:
        query = query.where(projects.c.id == project.id)
    return int(connection.scalar(query) or 0)


def _find_identified(connection: Connection, organisation_id: int, term: Term) -> str | None:
    """Return the ID of the one session that a text names by an ID or a reference of itself or a datapoint."""
    if not isinstance(term, Text):
        return None
    for table, session_id in ((sessions, sessions.c.id), (logs, logs.c.session_id)):
        for name in ("id", "reference_id"):
            query = select(session_id).where(
                table.c.organisation_id == organisation_id, table.c[name] == term.text
            )
            found: str | None = connection.scalar(query)
            if found is not None:
                return found
    return None
