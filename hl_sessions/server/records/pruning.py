"""Deletes records that have not changed for long, in small steps between which others can write."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from functools import partial
from time import monotonic, sleep
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, bindparam, delete, select, tuple_

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.engines import give_back_space, others_wrote
from hl_sessions.server.database.tables import idempotency_keys, logs, sessions
from hl_sessions.server.records.counts import count_deleted
from hl_sessions.server.records.deleting import Deleted, delete_some_logs, delete_some_sessions
from hl_sessions.server.records.idempotency import KEPT
from hl_sessions.server.records.session_totals import COUNTED, Datapoints

_AT_ONCE: Final = 250
"""The number of sessions, or of datapoints without one, that are looked up at once."""

_LONGEST_RANGE: Final = 4 * _AT_ONCE
"""The number of sessions that a step may look at, old or not."""

_KEYS_AT_ONCE: Final = 100
"""The number of idempotency keys that a step deletes: each has an answer of up to a megabyte."""

_HANDOVER: Final = 0.003
"""Seconds between two steps, in which a waiting process gets SQLite's lock."""

_IS_OLD: Final = sessions.c.updated_at < bindparam("before")
_ARE_OLD: Final = (sessions.c.sequence.between(bindparam("first"), bindparam("last")), _IS_OLD)
# On PostgreSQL, locked rows are skipped, so that no step waits.
_OLD_LOGS: Final = (
    select(*COUNTED)
    .outerjoin(sessions, sessions.c.id == logs.c.session_id)
    .where(
        logs.c.sequence.in_(bindparam("sequences", expanding=True)), logs.c.updated_at < bindparam("before")
    )
    .with_for_update(of=logs, skip_locked=True)
)
# In the order of their arrival: after the first key that is not old, none is old.
_OLDEST_KEYS: Final = (
    select(idempotency_keys.c.sequence, idempotency_keys.c.created_at)
    .order_by(idempotency_keys.c.sequence)
    .limit(_KEYS_AT_ONCE)
    .with_for_update(skip_locked=True)
)

Result = TypeVar("Result")


def prune(database: Database, before: datetime) -> Iterator[Deleted]:
    """Delete sessions with their datapoints, and datapoints without a session, unchanged since a time.

    Datapoints without a session are also kept if their own time is not before that.

    Args:
        database: The database.
        before: The point in time.

    Yields:
        The numbers of records that each step has deleted.
    """
    last = 0
    while found := database.read_now(partial(_find_sessions, after=last, before=before)):
        first, last = found
        yield from _in_steps(database, partial(_prune_sessions, first=first, last=last, before=before))
    after = (datetime.min.replace(tzinfo=timezone.utc), 0)
    while old := database.read_now(partial(_find_logs, after=after, before=before)):
        sequences = [sequence for _, sequence in old]
        yield from _in_steps(database, partial(_prune_logs, sequences=sequences, before=before))
        after = old[-1]


def prune_idempotency_keys(database: Database) -> Iterator[None]:
    """Delete the expired idempotency keys, in steps."""
    before = datetime.now(timezone.utc) - KEPT
    while _gently(database, partial(_prune_some_keys, before=before)):
        yield


def give_back(database: Database) -> Iterator[None]:
    """Return the free space of the database to the disk, as far as the database can, in steps."""
    while _gently(database, give_back_space):
        yield


def _in_steps(database: Database, change: Callable[[Connection], tuple[Deleted, bool]]) -> Iterator[Deleted]:
    is_done = False
    while not is_done:
        pruned, is_done = _gently(database, change)
        yield pruned


def _find_sessions(connection: Connection, after: int, before: datetime) -> tuple[int, int] | None:
    """Return the first and the last sequence of some old sessions; ``None`` if there are no more."""
    query = (
        select(sessions.c.sequence)
        .where(sessions.c.sequence > after, _IS_OLD)
        .order_by(sessions.c.sequence)
        .limit(_AT_ONCE)
    )
    found = connection.scalars(query, {"before": before}).all()
    if not found:
        return None
    first = found[0]
    return first, max(sequence for sequence in found if sequence < first + _LONGEST_RANGE)


def _find_logs(
    connection: Connection, after: tuple[datetime, int], before: datetime
) -> Sequence[tuple[datetime, int]]:
    """Return the times and the sequences of some old datapoints without a session."""
    # By the index of their times. Reading the time of the last change of each would take longer the more
    # there are.
    time = tuple_(logs.c.created_at, logs.c.sequence)
    query = (
        select(logs.c.created_at, logs.c.sequence)
        .where(logs.c.session_id.is_(None), time > after, logs.c.created_at < before)
        .where(logs.c.updated_at < before)
        .order_by(logs.c.created_at, logs.c.sequence)
        .limit(_AT_ONCE)
    )
    return [(created_at, sequence) for created_at, sequence in connection.execute(query)]


def _prune_sessions(connection: Connection, **old: Any) -> tuple[Deleted, bool]:
    return delete_some_sessions(connection, *_ARE_OLD, **old)


def _prune_logs(connection: Connection, **old: Any) -> tuple[Deleted, bool]:
    deleted, are_all = delete_some_logs(connection, _OLD_LOGS, **old)
    if deleted:
        count_deleted(connection, Datapoints.read(deleted))
    return Deleted(datapoints=len(deleted)), are_all


def _prune_some_keys(connection: Connection, before: datetime) -> bool:
    """Delete the oldest keys, and tell whether there may be more."""
    oldest = connection.execute(_OLDEST_KEYS).all()
    old = [sequence for sequence, created_at in oldest if created_at <= before]
    if old:
        connection.execute(delete(idempotency_keys).where(idempotency_keys.c.sequence.in_(old)))
    return len(old) == _KEYS_AT_ONCE


def _gently(database: Database, change: Callable[[Connection], Result]) -> Result:
    begun = 0.0
    is_alone = True

    def step(connection: Connection) -> Result:
        nonlocal begun, is_alone
        begun, is_alone = monotonic(), not others_wrote(connection)
        return change(connection)

    result = database.write_now(step)
    # Half of the time is left to other writers.
    sleep(_HANDOVER if is_alone else monotonic() - begun)
    return result
