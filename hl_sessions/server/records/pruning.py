"""Deletes what has not changed for long, in small steps: a server that runs waits for one of them at most."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import monotonic, sleep
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, exists, select

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.tables import logs, sessions
from hl_sessions.server.records.deleting import delete_some_logs

_SESSIONS_AT_ONCE: Final = 200


@dataclass(frozen=True)
class Pruned:
    """What was deleted.

    Args:
        sessions: How many sessions.
        datapoints: How many datapoints, with or without a session.
    """

    sessions: int = 0
    datapoints: int = 0

    def __add__(self, other: "Pruned") -> "Pruned":
        """Give both together."""
        return Pruned(self.sessions + other.sessions, self.datapoints + other.datapoints)


def prune(database: Database, before: datetime) -> Iterator[Pruned]:
    """Delete sessions with their datapoints, and datapoints without a session, that have not changed since.

    Args:
        database: From where.
        before: A point in time.

    Yields:
        What each step has deleted.
    """
    last = 0
    while old := database.read_now(partial(_old_sessions, before=before, after=last)):
        is_old = sessions.c.sequence.in_(old) & (sessions.c.updated_at < before)
        inside = logs.c.session_id.in_(select(sessions.c.id).where(is_old))
        yield from _delete_logs(database, inside)
        yield Pruned(sessions=_gently(database, partial(_delete_empty_sessions, condition=is_old)))
        last = old[-1]
    yield from _delete_logs(database, logs.c.session_id.is_(None) & (logs.c.updated_at < before))


def _old_sessions(connection: Connection, before: datetime, after: int) -> Sequence[int]:
    query = (
        select(sessions.c.sequence)
        .where(sessions.c.sequence > after, sessions.c.updated_at < before)
        .order_by(sessions.c.sequence)
        .limit(_SESSIONS_AT_ONCE)
    )
    return connection.scalars(query).all()


def _delete_logs(database: Database, condition: ColumnElement[bool]) -> Iterator[Pruned]:
    while deleted := _gently(database, partial(delete_some_logs, condition=condition)):
        yield Pruned(datapoints=deleted)


def _delete_empty_sessions(connection: Connection, condition: ColumnElement[bool]) -> int:
    has_datapoints = exists().where(logs.c.session_id == sessions.c.id)
    return connection.execute(delete(sessions).where(condition, ~has_datapoints)).rowcount


def _gently(database: Database, change: Callable[[Connection], int]) -> int:
    started = monotonic()
    result = database.write_now(change)
    # Half of the time belongs to the others: nobody stands in a queue for SQLite's lock.
    sleep(monotonic() - started)
    return result
