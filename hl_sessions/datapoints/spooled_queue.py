"""The queue of datapoints with a spool, from which a later process sends them if this one cannot."""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from hl_sessions.datapoints.fields import MADE_REFERENCE_ID, NAMES_OF_A_SESSION, check
from hl_sessions.datapoints.fixed import fix, fixed_fields
from hl_sessions.datapoints.queue import Entry, Queue
from hl_sessions.datapoints.spool import BUSY_TIMEOUT, Row, SpoolError
from hl_sessions.datapoints.values import freeze
from hl_sessions.process.fork import prepare_for_fork
from hl_sessions.process.reentry import creating
from hl_sessions.process.seldom import Seldom
from hl_sessions.process.thread_on_demand import ThreadOnDemand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hl_sessions.availability.reports import Reports
    from hl_sessions.datapoints.spool import Spool
    from hl_sessions.sessions.session import Session

__all__ = ["SpooledQueue"]

INTERVAL = 0.05  # seconds that a datapoint waits for others of the same write
ADOPTION_INTERVAL = 5.0  # seconds between two looks for rows of processes that have ended
REST = 10.0  # seconds until a file that failed is written to again
MOST_UNWRITTEN = 64 << 20  # bytes beyond the limit that may wait for a slow disk


class SpooledQueue(Queue):
    """A queue whose entries are also written to a spool, after a moment.

    Entries beyond the limit wait in the spool alone; so do, at first, the rows of processes that have ended.
    An entry is written before it is sent, with its session. If this process is killed, another one sends the
    entry to the same session.

    If the spool fails, it is not used for a while, and the queue works like one without a spool.

    Args:
        limit: the most bytes that wait in memory.
        spool: the spool.
        reports: takes the warning that the spool fails.
    """

    def __init__(self, limit: int, spool: Spool, reports: Reports) -> None:
        self._spool = spool
        self._reports = reports
        self._is_closed = False
        super().__init__(limit)
        prepare_for_fork(self)
        self.save()

    def _renew_after_fork(self) -> None:
        super()._renew_after_fork()
        self._writer = ThreadOnDemand(self._save_in_background, "hl-sessions-spool", INTERVAL)
        #: Held by the thread that uses the spool, while it waits for the disk.
        self._saving = threading.RLock()
        self._is_ready_for_fork = False
        #: The entries that the spool lacks, or has in a former state.
        self._unwritten: dict[Entry, None] = {}
        #: The entries in memory that have a row.
        self._written: dict[Entry, None] = {}
        #: Those whose row names a session by its reference ID, while it may still get an ID.
        self._unnamed: dict[Entry, Session] = {}
        #: The settled entries whose rows are still to be deleted.
        self._settled: list[Entry] = []
        #: The number of our rows that are not in memory.
        self._spilled = 0
        self._next_adoption = 0.0
        self._next_attempt = 0.0
        self._has_failed = False
        self._warnings = Seldom()

    def _prepare_for_fork(self) -> None:
        self._is_ready_for_fork = self._saving.acquire(timeout=2 * BUSY_TIMEOUT)
        self._spool.disconnect()  # two processes must not share a connection of SQLite

    def _go_on_after_fork(self) -> None:
        if self._is_ready_for_fork:
            self._saving.release()

    def __len__(self) -> int:
        return super().__len__() + self._spilled

    def put(self, entry: Entry) -> None:
        """Add an entry."""
        with self._lock:
            self._unwritten[entry] = None
            super().put(entry)
        self._writer.tell()
        if self.size > self.limit:
            self._writer.hurry()

    def put_complete(
        self,
        session: Session | None,
        reference_id: str,
        root: str,
        fixed: bytes,
        owns_reference_id: bool,  # noqa: FBT001 - as in the queue
    ) -> None:
        """Add a datapoint to which nothing will be added, as an entry, which has a row in the spool."""
        self.put(Entry(session, reference_id, root, fixed, owns_reference_id=owns_reference_id))

    def end(self, entry: Entry, part: bytes | None) -> bool:
        """End the datapoint of an entry, add fields if it still waits in memory; return whether it does."""
        with self._lock:
            if entry.is_waiting and part is not None:
                self._unwritten[entry] = None
            is_waiting = super().end(entry, part)
        self._writer.tell()
        return is_waiting

    def take(self, most_bytes: int, most_entries: int) -> list[Entry]:
        """Take out the oldest entries, at least one if there is any, to be settled or given back."""
        with self._saving:  # else the oldest could leave the memory again right before they are taken
            if self._spilled:
                self._load(most_bytes, most_entries)
            return super().take(most_bytes, most_entries)

    def give_back(self, entries: Sequence[Entry]) -> None:
        """Put entries back in front, as they could not be sent."""
        super().give_back(entries)
        if self.size > self.limit:
            self._writer.hurry()

    def settle(self, entries: Sequence[Entry]) -> None:
        """Forget entries that were taken out."""
        with self._lock:
            super().settle(entries)
            for entry in entries:
                self._let_go(entry)
            self._settled += entries
        self._writer.tell()

    def drop_all(self) -> int:
        """Leave the waiting entries to a later process, drop those without a row; return the number left."""
        self.save()
        with self._lock:
            left = self.unsettled() - sum(not entry.number for entry in list(self._unwritten))
            super().drop_all()
            self.settled += self._spilled
            self._spilled = 0
        with self._saving:
            self._is_closed = True
            self._spool.close()
        return left

    def save(self) -> None:
        """Write the changed entries to the spool."""
        with creating():  # else reading a reference ID might warn that it blocks
            # Before the lock is taken, as this may ask the store of the conversations.
            for entry in self._changed():
                if entry.session is not None:
                    _name(entry.session)
            with self._saving:
                if not self._is_closed and self._tidy():
                    self._write()

    def _save_in_background(self) -> float | None:
        self.save()
        self._reports.emit()
        return REST if self._has_failed and self._unwritten else None

    def _changed(self) -> list[Entry]:
        with self._lock:
            return list(self._unwritten)

    def _tidy(self) -> bool:
        """Update the rows, and adopt those of ended processes; return whether the spool is usable."""
        with self._lock:
            settled = self._settled = [entry for entry in self._settled if entry.number]
            count, unnamed = len(settled), dict(self._unnamed)
        named = {entry: name for entry, session in unnamed.items() if (name := _session_id(session))}
        adopted = 0
        try:
            if self._spool.open():
                self._lose_rows()
                return True
            if count:
                self._spool.delete(entry.number for entry in settled[:count])
            if named:
                self._spool.name((name, entry.number) for entry, name in named.items())
            if time.monotonic() >= self._next_adoption:
                self._next_adoption = time.monotonic() + ADOPTION_INTERVAL
                adopted = self._spool.adopt()
        except SpoolError as error:
            self._fail(error)
            return False
        with self._lock:
            del settled[:count]
            for entry in named:
                self._unnamed.pop(entry, None)
            self.put_in_all += adopted
            self._spilled += adopted
        return True

    def _write(self) -> None:
        if time.monotonic() < self._next_attempt:
            return
        changed = [(entry, len(entry.parts)) for entry in self._changed()]
        rows = [_row(entry) for entry, _ in changed]
        if rows:
            try:
                numbers = self._spool.write(rows)
            except SpoolError as error:
                self._fail(error)
                return
            self._has_failed = False
            with self._lock:
                for (entry, parts), row, number in zip(changed, rows, numbers, strict=True):
                    entry.number = number
                    if entry in self._unwritten:  # not settled meanwhile
                        self._written[entry] = None
                        if entry.session is not None and row.session_field == "session_reference_id":
                            self._unnamed[entry] = entry.session
                        if len(entry.parts) == parts:
                            del self._unwritten[entry]
        self._spill()

    def _spill(self) -> None:
        """Remove the oldest entries from memory while it has too many; they wait in the spool alone."""
        while self.size > self.limit:
            with self._lock:
                entry = self._waiting[0] if self._waiting else None
            if entry is None:
                return
            session = self._unnamed.get(entry)
            # The handle is not asked again: it logs by reference for good, or its ID has to be noted first.
            if session is not None and "session_id" in session._log_params(None):
                return
            with self._lock:
                if not self._waiting or self._waiting[0] is not entry or entry in self._unwritten:
                    return
                self._drop_oldest()

    def _load(self, most_bytes: int, most_entries: int) -> None:
        """Load rows into memory that are older than the entries to be taken next."""
        if self._is_closed or not self._tidy():  # tidied, so that no settled row is read again
            return
        with self._lock:
            last = most_entries - 1
            before = self._waiting[last].number if last < len(self._waiting) else 0
            held = {entry.number for entry in list(self._written)}
        loaded: list[Entry] = []
        size = 0
        try:
            # Closed here, as PyPy would close it later than the connection.
            with closing(self._spool.read(before, most_entries + len(held))) as rows:
                for row in rows:
                    if row.number in held:
                        continue
                    loaded.append(_entry(row))
                    size += loaded[-1].size
                    if size >= most_bytes or len(loaded) >= most_entries:
                        break
        except SpoolError as error:
            self._fail(error)
            return
        with self._lock:
            self._put_in_place(loaded)
            self.size += size
            self._spilled -= len(loaded)
            if not loaded and not held:  # the rows were deleted by others
                self._give_up_spilled()

    def _put_in_place(self, loaded: list[Entry]) -> None:
        older: list[Entry] = []
        while loaded and self._waiting and 0 < self._waiting[0].number < loaded[-1].number:
            older.append(self._waiting.popleft())
        self._waiting.extendleft(sorted([*loaded, *older], key=_number, reverse=True))
        for entry in loaded:
            entry.is_waiting = True
            self._written[entry] = None

    def _lose_rows(self) -> None:
        """Begin anew in a new file, to which all entries in memory have to be written."""
        self._reports.add(
            logging.WARNING,
            "the spool %s was removed or replaced; datapoints that only it had, and that are lost: %d",
            self._spool.path,
            self._spilled,
        )
        with self._lock:
            for entry in self._written:
                entry.number = 0
            self._unwritten = {**self._written, **self._unwritten}
            self._written, self._unnamed, self._settled = {}, {}, []
            self._give_up_spilled()
            self._next_attempt = self._next_adoption = 0.0

    def _give_up_spilled(self) -> None:
        self.settled += self._spilled
        self.dropped += self._spilled
        self._spilled = 0

    def _fail(self, error: Exception) -> None:
        self._spool.disconnect()
        self._next_attempt = time.monotonic() + REST
        self._has_failed = True
        # A file that is full takes a bit whenever something was sent.
        if self._warnings.is_due("failed"):
            self._reports.add(
                logging.WARNING,
                "datapoints wait in memory only, as the spool %s cannot be written: %s",
                self._spool.path,
                error,
            )

    def _make_room(self) -> None:
        # Unwritten entries may exceed the limit for a moment, as they will be written soon.
        spare = 0 if self._has_failed else MOST_UNWRITTEN
        while self.size > self.limit + spare and self._waiting:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        entry = self._waiting[0]
        if not entry.number:
            super()._drop_oldest()
            self._settled.append(entry)  # as its row may be written at this moment
        else:
            self._waiting.popleft()
            entry.is_waiting = False
            self.size -= entry.size
            self._spilled += 1
        self._let_go(entry)

    def _let_go(self, entry: Entry) -> None:
        self._unwritten.pop(entry, None)
        self._written.pop(entry, None)
        self._unnamed.pop(entry, None)


def _number(entry: Entry) -> int:
    return entry.number


def _session_id(session: Session) -> str | None:
    """Return the ID by which the datapoints of a session are sent, ``None`` if it is not known yet."""
    session_id = session.peek()
    return None if session_id is None or session._logs_by_reference() else session_id


def _name(session: Session) -> tuple[str, str]:
    """Return the field that names a session in the API, and its value."""
    session_id = _session_id(session)
    if session_id is not None:
        return "session_id", session_id
    return "session_reference_id", session._learn_reference_id()


def _row(entry: Entry) -> Row:
    fields = check(fixed_fields(entry.parts)).fields
    field, name = (None, None) if entry.session is None else _name(entry.session)
    if NAMES_OF_A_SESSION & fields.keys():
        field = None  # the application has named a session
    return Row(
        entry.number,
        field,
        name,
        entry.reference_id,
        entry.root,
        entry.is_completion,
        freeze(fields).body,
    )


def _entry(row: Row) -> Entry:
    try:
        fields: dict[str, Any] = json.loads(row.fields)
    except ValueError:  # the disk has lost the fields: the API reports the missing ones
        fields = {"reference_id": row.reference_id}
    if row.session_field is not None and not row.is_completion:
        fields[row.session_field] = row.session
    fixed, _ = fix(fields)
    # The root decides about the sample, so it is the name of the session, as in the former process.
    root = row.session or row.root
    entry = Entry(
        None,
        row.reference_id,
        root,
        fixed,
        is_completion=bool(row.is_completion),
        owns_reference_id=MADE_REFERENCE_ID.fullmatch(row.reference_id) is not None,
    )
    entry.number = row.number
    entry.may_be_stored = True
    return entry
