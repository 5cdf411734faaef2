"""The sessions of the list that a reader has chosen, to delete or to export them."""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, func, select
from starlette.datastructures import FormData

from hl_sessions.server.database.tables import project_sessions, sessions
from hl_sessions.server.finding.filters import InvalidFilterError, SessionFilter
from hl_sessions.server.finding.session_search import matching
from hl_sessions.server.protocol.identifiers import SESSION, identifier_pattern

_AT_ONCE: Final = 500
"""The number of sessions that are looked up at once."""

_READ_AT_ONCE: Final = 10_000
"""The number of sequences that are converted to Python objects at once."""

_ID_PATTERN: Final = re.compile(identifier_pattern(SESSION))


@dataclass(frozen=True)
class Choice:
    """Sessions that a reader has chosen.

    Args:
        session_ids: Their IDs; empty if all sessions of the filter are chosen.
        wanted: The filter of the list.
        unchanged_since: The time of the last change that the reader knows of. If all sessions of the filter
            are chosen, those that arrived or changed later are left out; ``None`` leaves out none.
    """

    session_ids: Sequence[str]
    wanted: SessionFilter
    unchanged_since: datetime | None = None

    @classmethod
    def read(cls, form: FormData, parameters: Mapping[str, str]) -> "Choice":
        """Read the choice from the form of the list, and the filter from its address.

        Raises:
            InvalidFilterError: When nothing is chosen, or a value cannot be understood.
        """
        wanted = SessionFilter.read(parameters)
        if form.get("all"):
            return cls((), wanted, _read_moment(form.get("unchanged_since")))
        # Without duplicates, in the order of the list.
        session_ids = [str(value) for value in dict.fromkeys(form.getlist("session"))]
        if not session_ids:
            raise InvalidFilterError("no session is chosen: choose some in the list")
        if not all(map(_ID_PATTERN.match, session_ids)):
            raise InvalidFilterError("session has to be the ID of a session, such as sesh_...")
        return cls(session_ids, wanted)

    @property
    def are_all(self) -> bool:
        """Whether all sessions of the filter are chosen."""
        return not self.session_ids

    def as_known(self, unchanged_since: datetime | None) -> "Choice":
        """Return the same choice without sessions that arrive or change later."""
        return replace(self, unchanged_since=unchanged_since)


@dataclass(frozen=True)
class Chosen:
    """The numbers of chosen sessions and datapoints, and the time of the last change."""

    sessions: int
    datapoints: int
    changed_at: datetime | None


def count_chosen(connection: Connection, organisation_id: int, choice: Choice) -> Chosen:
    """Count the existing sessions of a choice."""
    chosen = _select(connection, organisation_id, choice)
    count, changed_at = connection.execute(
        select(func.count(), func.max(sessions.c.updated_at)).where(sessions.c.sequence.in_(chosen))
    ).one()
    datapoints = connection.scalar(
        select(func.coalesce(func.sum(project_sessions.c.datapoints_count), 0)).where(
            project_sessions.c.session_sequence.in_(chosen)
        )
    )
    return Chosen(count, int(datapoints or 0), changed_at)


class ChosenSessions:
    """The sessions of a choice at one moment, without those that arrive later.

    Args:
        organisation_id: The organisation of the reader.
        choice: The choice.
        sequences: Their sequences, in order. Only these are in memory, however many there are.
    """

    def __init__(self, organisation_id: int, choice: Choice, sequences: Sequence[int]) -> None:
        self._organisation_id = organisation_id
        self._choice = choice
        self._sequences = sequences

    def some_behind(self, connection: Connection, after: int) -> Sequence[tuple[int, str]]:
        """Return sequences and IDs of some that still exist, after a sequence; none at the end."""
        start = bisect_right(self._sequences, after)
        while start < len(self._sequences):
            some = self._sequences[start : start + _AT_ONCE]
            # SQLite may give the number of a deleted session to a new one.
            still = [*_conditions(self._choice), sessions.c.organisation_id == self._organisation_id]
            query = select(sessions.c.sequence, sessions.c.id).where(sessions.c.sequence.in_(some), *still)
            found = connection.execute(query.order_by(sessions.c.sequence)).all()
            if found:
                return [(sequence, session_id) for sequence, session_id in found]
            start += _AT_ONCE
        return []


def find_chosen(connection: Connection, organisation_id: int, choice: Choice) -> ChosenSessions:
    """Find the sessions of a choice."""
    query = _select(connection, organisation_id, choice).order_by(sessions.c.sequence)
    found = connection.scalars(query.execution_options(yield_per=_READ_AT_ONCE))
    return ChosenSessions(organisation_id, choice, array("q", found))


def _select(connection: Connection, organisation_id: int, choice: Choice) -> Select[Any]:
    if choice.are_all:
        found = matching(connection, organisation_id, choice.wanted)
    else:
        found = select(sessions.c.sequence).where(sessions.c.organisation_id == organisation_id)
    return found.where(*_conditions(choice))


def _conditions(choice: Choice) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on a session, except for its organisation and the filter."""
    if not choice.are_all:
        yield sessions.c.id.in_(choice.session_ids)
    if choice.unchanged_since is not None:
        yield sessions.c.updated_at <= choice.unchanged_since


def _read_moment(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        return datetime.fromisoformat(str(value)).astimezone(timezone.utc)
    except (OverflowError, ValueError):
        raise InvalidFilterError(
            "unchanged_since has to be a time such as 2026-11-22T10:30:00+00:00"
        ) from None
