"""Reads datapoints in the order of their arrival, after a known one."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from threading import Lock
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import Connection, bindparam, or_, select

from hl_sessions.server.database.tables import logs, projects
from hl_sessions.server.protocol.answers import RESULTS
from hl_sessions.server.records.log_parts import parts_of_logs
from hl_sessions.server.records.parts import Part, read_on

START: Final = "start"
"""The place before all datapoints."""

_SETTLED: Final = timedelta(seconds=30)
"""The age from which on no datapoint with a lower number can still be stored.  On PostgreSQL, parallel
transactions number their datapoints before these become visible.
"""

_AT_ONCE: Final = 1000
_MOST_REMEMBERED: Final = 1000

_NEWEST: Final = (
    select(logs.c.id)
    .where(logs.c.organisation_id == bindparam("organisation"))
    .order_by(logs.c.sequence.desc())
    .limit(1)
)
_PLACES: Final = select(logs.c.id, logs.c.organisation_id, logs.c.sequence).where(
    logs.c.id.in_(bindparam("ids", expanding=True))
)
_BEHIND: Final = (
    select(
        *(logs.c.sequence, logs.c.id, logs.c.organisation_id, logs.c.session_id, logs.c.updated_at),
        projects.c.name.label("project"),
    )
    .join(projects, projects.c.id == logs.c.project_id)
    .where(logs.c.sequence > bindparam("last"))
    .order_by(logs.c.sequence)
    .limit(_AT_ONCE)
)
_ENDED: Final = (
    select(logs.c.sequence)
    .where(
        logs.c.id.in_(bindparam("ids", expanding=True)),
        logs.c.organisation_id == bindparam("organisation"),
        or_(*(logs.c[name].is_not(None) for name in RESULTS)),
    )
    .order_by(logs.c.sequence)
)


class Arrivals:
    """Finds the datapoints that have arrived, and remembers the last one that it has looked at."""

    def __init__(self) -> None:
        # The last datapoint of an organisation may be followed by those of others, which it must not learn
        # of.
        self._looked_at: dict[tuple[int, str], str] = {}
        self._lock = Lock()

    def find(
        self,
        connection: Connection,
        organisation_id: int,
        after: str | None,
        size: int,
        *,
        project: str | None = None,
        session_id: str | None = None,
        open_ids: Sequence[str] = (),
    ) -> list[Part] | None:
        """Return the datapoints that have arrived after another one, in parts, with the next place.

        Those before them have arrived earlier, and have ended since.

        Args:
            connection: The connection of a transaction that reads.
            organisation_id: The organisation of the datapoints.
            after: The ``next`` of the previous answer; ``None`` begins with everything that arrives from now
                on.
            size: The greatest number of datapoints that have arrived.
            project: The name of their project, to select those of one project.
            session_id: The ID of their session, to select those of one session.
            open_ids: The IDs of datapoints that had not ended when they were answered.

        Returns:
            The answer; ``None`` when the datapoint of ``after`` was deleted.
        """
        if after is None:
            after = connection.scalar(_NEWEST, {"organisation": organisation_id}) or START
            return _answer(connection, after, [])
        last = self._last_looked_at(connection, organisation_id, after)
        if last is None:
            return None
        ended: list[int] = []
        if open_ids:
            ended += connection.scalars(_ENDED, {"ids": open_ids, "organisation": organisation_id})
        found: list[int] = []
        looked_at = begin = after
        for row in _arrived(connection, last):
            looked_at = row.id
            if row.organisation_id == organisation_id:
                after = row.id
                if (project is None or row.project == project) and session_id in {None, row.session_id}:
                    found.append(row.sequence)
                    if len(found) == size:
                        break
        if looked_at != begin:
            self._remember((organisation_id, after), looked_at)
        return _answer(connection, after, list(dict.fromkeys([*ended, *found])))

    def _last_looked_at(self, connection: Connection, organisation_id: int, after: str) -> int | None:
        """Return the sequence of the last datapoint that was looked at when this one was answered."""
        ids = [after, self._looked_at.get((organisation_id, after), after)]
        rows = connection.execute(_PLACES, {"ids": ids}).all()
        is_there = after == START or any(
            row.id == after and row.organisation_id == organisation_id for row in rows
        )
        return max((row.sequence for row in rows), default=0) if is_there else None

    def _remember(self, place: tuple[int, str], looked_at: str) -> None:
        with self._lock:
            self._looked_at[place] = looked_at
            if len(self._looked_at) > _MOST_REMEMBERED:
                del self._looked_at[next(iter(self._looked_at))]


def _arrived(connection: Connection, last: int) -> Iterator[Any]:
    """Yield all datapoints after a number, up to the first gap that may still be filled."""
    while True:
        rows = connection.execute(_BEHIND, {"last": last}).all()
        settled = _settled(rows, last) if connection.dialect.name == "postgresql" else rows
        yield from settled
        if len(settled) < _AT_ONCE:
            return
        last = settled[-1].sequence


def _settled(rows: Sequence[Any], last: int) -> Sequence[Any]:
    before = datetime.now(timezone.utc) - _SETTLED
    count = max((place for place, row in enumerate(rows, 1) if row.updated_at < before), default=0)
    if count:
        last = rows[count - 1].sequence
    while count < len(rows) and rows[count].sequence == last + 1:
        last = rows[count].sequence
        count += 1
    return rows[:count]


def _answer(connection: Connection, after: str, sequences: Sequence[int]) -> list[Part]:
    begin = b'{"next":' + to_json(after) + b',"records":['
    return read_on(connection, [begin, *parts_of_logs(connection, sequences), b"]}"])
