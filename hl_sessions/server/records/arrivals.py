"""Datapoints in the order in which they have arrived, from behind one that is known."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from threading import Lock
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import Connection, bindparam, select

from hl_sessions.server.database.tables import logs, projects
from hl_sessions.server.records.log_parts import parts_of_logs
from hl_sessions.server.records.parts import Part, read_on

START: Final = "start"
"""Stands for a place before all datapoints."""

_SETTLED: Final = timedelta(seconds=30)
"""After which nobody stores a datapoint any more that was numbered before one that is there.

On PostgreSQL transactions that run side by side number their datapoints before they are to be seen.
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


class Arrivals:
    """Finds what has arrived, and remembers how far it has looked."""

    def __init__(self) -> None:
        # Behind the last datapoint of an organisation, those of others, which it must not hear of.
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
    ) -> list[Part] | None:
        """Answer some datapoints that have arrived behind another one, in parts, and what to ask for next.

        Args:
            connection: The connection of a transaction that reads.
            organisation_id: Whose datapoints.
            after: What was answered before as the ``next``; ``None`` begins with what arrives from now on.
            size: How many, at most.
            project: The name of their project, if only those of one are wanted.
            session_id: Their session, if only those of one are wanted.

        Returns:
            The answer; ``None`` when the datapoint that it begins behind is gone.
        """
        if after is None:
            after = connection.scalar(_NEWEST, {"organisation": organisation_id}) or START
            return _answer(connection, after, [])
        last = self._last_looked_at(connection, organisation_id, after)
        if last is None:
            return None
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
        return _answer(connection, after, found)

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
    """Yield all datapoints behind a number, up to where others may still be stored in between."""
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
