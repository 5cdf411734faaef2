"""Builds the text index in the background, in small steps that are committed one by one."""

import logging
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection, Text, bindparam, cast, delete, func, insert, select, text

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.errors import DatabaseError
from hl_sessions.server.database.leases import hold_lease
from hl_sessions.server.database.search_index import (
    BUCKETS_OF_ROW,
    ROWS_OF_SEGMENT,
    Range,
    is_one_of,
    read_segments,
    unindexed_ranges,
)
from hl_sessions.server.database.search_signature import MOST_BLOCKS, Blocks, numbers_of
from hl_sessions.server.database.stored_text import octets_of
from hl_sessions.server.database.tables import (
    logs,
    search_bits,
    search_changes,
    search_numbers,
    search_segments,
    sessions,
)

_SEARCHED: Final = tuple(
    logs.c[name] for name in ("inputs", "messages", "output", "output_message", "error", "metadata")
)

_NAME: Final = "text index"

_PAUSE: Final = 1.0
"""Seconds between two checks for work."""

_REST: Final = 60.0
"""Seconds after which work is looked for even if nothing seems to be new."""

_FEWEST: Final = 2_048
"""The number of new datapoints from which on a segment is built. A search reads datapoints outside of
segments.
"""

_MOST_WHILE_BUSY: Final = 32_768
"""The same during many writes, so that the work is postponed and costs the writers nothing."""

_BUSY: Final = 200
"""The number of new datapoints in a second that count as many."""

_MOST_CHANGES: Final = 500
"""The number of changed datapoints from which on the segment with most of them is built again."""

_BYTES_AT_ONCE: Final = 1_000_000
_ROWS_AT_ONCE: Final = 256

_LEASE: Final = timedelta(seconds=30)
_BEGIN: Final = datetime(1, 1, 1, tzinfo=timezone.utc)

_logger = logging.getLogger(__name__)


class SearchIndexing:
    """Keeps the text index of a database up to date on a thread, together with other processes.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = secrets.token_hex(8)
        self._settled = _Settled()
        self._arrivals = _Arrivals()
        self._seen: tuple[int, ...] | None = None
        self._seen_at = monotonic()
        self._has_failed = False
        self._is_closed = Event()
        # The thread starts with an empty context. It is a daemon, so a process that must end at once does not
        # wait for it.
        self._thread = Thread(
            target=Context().run, args=(self._run,), name="hl-sessions-text-index", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, and discard work that is not committed."""
        self._is_closed.set()
        self._thread.join()

    def step(self) -> bool:
        """Do the next piece of work, and tell whether there was one."""
        work = self._database.read_now(self._find_work)
        if work is None or not self._database.write_now(self._take_turn):
            return False
        if isinstance(work, _Outdated):
            self._database.write_now(lambda connection: _remove(connection, work.segments))
            return True
        return self._build(work)

    def _run(self) -> None:
        while not self._is_closed.wait(_PAUSE):
            self._catch_up()

    def _catch_up(self) -> None:
        try:
            while not self._is_closed.is_set() and self.step():
                self._has_failed = False
        except DatabaseError as error:
            # Searches find everything without the index, only slower.
            if not self._has_failed:
                _logger.warning("the text index is not kept up to date: %s", error)
            self._has_failed = True

    def _find_work(self, connection: Connection) -> "Range | _Outdated | None":
        last = self._settled.last(connection)
        are_many = self._arrivals.are_many(last)
        change = connection.scalar(select(func.max(search_changes.c.sequence))) or 0
        seen = (last, change, connection.scalar(select(func.count()).select_from(search_segments)) or 0)
        if seen == self._seen and monotonic() - self._seen_at < _REST:
            return None
        segments = read_segments(connection)
        outdated = _find_outdated(connection, segments)
        if outdated:
            return _Outdated(outdated)
        enough = _MOST_WHILE_BUSY if are_many else _FEWEST
        if segments:
            enough = min(enough, _datapoints_of_full(connection, segments[-1]))
        end = segments[-1].last if segments else 0
        for found in unindexed_ranges(connection, segments, last):
            if found[0] < end or found[1] - found[0] + 1 >= enough:
                return found
        # There is no work until a datapoint is new, or a segment has lost all of its datapoints.
        self._seen, self._seen_at = None if are_many else seen, monotonic()
        return None

    def _take_turn(self, connection: Connection) -> bool:
        return hold_lease(connection, _NAME, self._holder, _LEASE)

    def _build(self, wanted: Range) -> bool:
        first, last = wanted
        changes = self._database.read_now(lambda connection: _find_changes(connection, first, last))
        blocks = Blocks()
        last_added, last_id = 0, ""
        for sequence, log_id, *texts in self._rows(first, last):
            if blocks.is_full():
                break
            metadata = texts[-1]
            numbers = {} if metadata is None else numbers_of(metadata)
            blocks.add(sequence, [text for text in texts if text is not None], numbers)
            last_added, last_id = sequence, log_id
        if self._is_closed.is_set() or not blocks.starts:
            return False
        newest = self._database.read_now(lambda connection: _find_newest(connection, first, last_added))
        segment = {"first": first, "last": last_added, "starts": blocks.starts, **newest}
        buckets = list(blocks.bits())
        rows = [
            {
                "number": first * ROWS_OF_SEGMENT + number,
                "bits": b"".join(buckets[number * BUCKETS_OF_ROW : (number + 1) * BUCKETS_OF_ROW]),
            }
            for number in range(ROWS_OF_SEGMENT)
        ]
        numbers_of_segment = [
            {"segment": first, "bucket": bucket, "ranges": ranges}
            for bucket, ranges in blocks.numbers().items()
        ]

        def store(connection: Connection) -> bool:
            # SQLite may use a number again, but not as long as this datapoint exists.
            if connection.scalar(select(logs.c.id).where(logs.c.sequence == last_added)) != last_id:
                return False
            _remove(connection, [first], last_added)
            connection.execute(insert(search_segments), segment)
            connection.execute(insert(search_bits), rows)
            if numbers_of_segment:
                connection.execute(insert(search_numbers), numbers_of_segment)
            connection.execute(delete(search_changes).where(is_one_of(search_changes.c.sequence, changes)))
            return True

        return self._database.write_now(store)

    def _rows(self, first: int, last: int) -> Iterator[Any]:
        while first <= last and not self._is_closed.is_set():
            started = monotonic()
            rows = self._database.read_now(lambda connection: _read_rows(connection, first, last))  # noqa: B023
            if not rows:
                return
            yield from rows
            first = rows[-1].sequence + 1
            # Half of the time is left to others.
            self._is_closed.wait(monotonic() - started)


@dataclass(frozen=True)
class _Outdated:
    """Segments that no longer match their datapoints."""

    segments: Sequence[int]


class _Arrivals:
    """Tells whether many datapoints arrive."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._seen_at = monotonic()

    def are_many(self, last: int) -> bool:
        """Compare the number of the last datapoint with that of the previous call."""
        now = monotonic()
        seconds, self._seen_at = now - self._seen_at, now
        before, self._last = self._last, last
        return before is not None and last - before > _BUSY * seconds


class _Settled:
    """Finds the number up to which no running transaction will add a datapoint any more."""

    def __init__(self) -> None:
        self._settled = self._next = 0
        self._writers: frozenset[str] = frozenset()

    def last(self, connection: Connection) -> int:
        """Return the highest such number."""
        if connection.dialect.name == "sqlite":
            return connection.scalar(select(func.max(logs.c.sequence))) or 0
        if self._next == self._settled:
            # In this order, because a transaction takes the lock of a writer before it gets a number.
            self._next = connection.scalar(_LAST_NUMBER) or 0
            self._writers = frozenset(connection.scalars(_WRITERS))
        if self._writers.isdisjoint(connection.scalars(_WRITERS)):
            self._settled = self._next
        return self._settled


_LAST_NUMBER: Final = text(
    "SELECT pg_sequence_last_value(pg_get_serial_sequence('logs', 'sequence')::regclass)"
)
_WRITERS: Final = text(
    "SELECT virtualtransaction FROM pg_locks WHERE relation = 'logs'::regclass AND mode = 'RowExclusiveLock' "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _find_outdated(connection: Connection, segments: Sequence[Any]) -> Sequence[int]:
    """Return the empty segments, or the most changed one if there are too many changes."""
    there = select(logs.c.sequence).where(
        logs.c.sequence.between(search_segments.c.first, search_segments.c.last)
    )
    empty = connection.scalars(select(search_segments.c.first).where(~there.exists())).all()
    if empty:
        return empty
    changed: Counter[int] = Counter()
    for number in connection.scalars(select(search_changes.c.log_sequence)):
        changed.update(segment.first for segment in segments if segment.first <= number <= segment.last)
    if changed.total() <= _MOST_CHANGES:
        return []
    return [first for first, _ in changed.most_common(1)]


def _datapoints_of_full(connection: Connection, segment: Any) -> int:
    """Return how many datapoints, of the size of those in a segment, fill a segment with the most blocks."""
    query = select(search_segments.c.starts).where(search_segments.c.first == segment.first)
    datapoints: int = segment.last - segment.first + 1
    return datapoints * MOST_BLOCKS // len(connection.scalar(query) or [0])


def _find_changes(connection: Connection, first: int, last: int) -> Sequence[int]:
    query = select(search_changes.c.sequence).where(search_changes.c.log_sequence.between(first, last))
    return connection.scalars(query).all()


# Built once, because building one takes as long as reading some dozens of rows.
_TEXTS: Final = tuple(cast(column, Text) for column in _SEARCHED)
_LENGTHS: Final = [func.coalesce(octets_of(column), 0) for column in _SEARCHED]
_IN_RANGE: Final = logs.c.sequence.between(bindparam("first"), bindparam("last"))
_FIND_LENGTHS: Final = (
    select(logs.c.sequence, sum(_LENGTHS[1:], _LENGTHS[0]).label("length"))
    .where(_IN_RANGE)
    .order_by(logs.c.sequence)
    .limit(bindparam("rows"))
)
_FIND_TEXTS: Final = select(logs.c.sequence, logs.c.id, *_TEXTS).where(_IN_RANGE).order_by(logs.c.sequence)
_FIND_NEWEST: Final = (
    select(
        func.max(logs.c.created_at).label("newest_at"),
        func.coalesce(func.max(sessions.c.sequence), 0).label("newest_session"),
        func.coalesce(func.max(sessions.c.created_at), _BEGIN).label("newest_session_at"),
    )
    .outerjoin_from(logs, sessions, sessions.c.id == logs.c.session_id)
    .where(_IN_RANGE)
)


def _read_rows(connection: Connection, first: int, last: int) -> Sequence[Any]:
    """Read the first rows of a range, up to a total size, because they may be large."""
    end = size = 0
    found = connection.execute(_FIND_LENGTHS, {"first": first, "last": last, "rows": _ROWS_AT_ONCE})
    for sequence, length in found:
        size += length
        if end and size > _BYTES_AT_ONCE:
            break
        end = sequence
    return connection.execute(_FIND_TEXTS, {"first": first, "last": end}).all()


def _find_newest(connection: Connection, first: int, last: int) -> dict[str, Any]:
    """Find the upper limit of the times and numbers in a range."""
    return dict(connection.execute(_FIND_NEWEST, {"first": first, "last": last}).mappings().one())


def _remove(connection: Connection, segments: Sequence[int], last: int | None = None) -> None:
    """Remove segments, and bits up to a number that SQLite's trigger may have left of deleted segments."""
    for first in segments:
        end = connection.scalar(select(search_segments.c.last).where(search_segments.c.first == first))
        last_of_segment = last or end or first
        numbers = (first * ROWS_OF_SEGMENT, (last_of_segment + 1) * ROWS_OF_SEGMENT - 1)
        connection.execute(delete(search_bits).where(search_bits.c.number.between(*numbers)))
        connection.execute(
            delete(search_numbers).where(search_numbers.c.segment.between(first, last_of_segment))
        )
        connection.execute(delete(search_segments).where(search_segments.c.first == first))
