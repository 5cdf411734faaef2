"""The queue of datapoints that wait to be sent, with a limit in bytes."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from hl_sessions.process.fork import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hl_sessions.sessions.session import Session

__all__ = ["OVERHEAD", "Entry", "Queue"]

OVERHEAD = 360  # bytes of an entry without its fields


class Entry:
    """An entry: a datapoint, the completion of one that was sent before, or the description of a session.

    Attributes:
        session: its session; ``None``: no session, or the one that the fields name.
        reference_id: the ID of the datapoint, which is among the fields, too; empty for a description.
        size: its bytes.
        root: the reference ID of the outermost datapoint that it is nested under, or its own; the name of the
            session that the fields name.
        parts: its fields without the session, as :func:`hl_sessions.datapoints.fixed.fix` returns them.
        is_completion: whether the API has the datapoint already.
        is_waiting: whether it is in the queue.
        is_open: whether its datapoint has not ended. At the end it is queued again if it was dropped before.
        is_dropped: whether the queue had no room for it.
        is_refused: whether the API has refused it.
        may_be_stored: whether it was sent before, perhaps by another process, and the answer was lost.
        owns_reference_id: whether a stored datapoint with its reference ID can only be this one.
        has_waited: whether it has waited for a parent that another process was still sending.
        number: its row in the spool; 0: it has none.
        version: that of :class:`Told`, for a description; 0: none.
    """

    __slots__ = (
        "has_waited",
        "is_completion",
        "is_dropped",
        "is_open",
        "is_refused",
        "is_waiting",
        "may_be_stored",
        "number",
        "owns_reference_id",
        "parts",
        "reference_id",
        "root",
        "session",
        "size",
        "version",
    )

    def __init__(
        self,
        session: Session | None,
        reference_id: str,
        root: str,
        *parts: bytes,
        is_completion: bool = False,
        owns_reference_id: bool = False,
    ) -> None:
        self.session = session
        self.reference_id = reference_id
        self.root = root
        self.parts = parts
        self.size = OVERHEAD
        for part in parts:
            self.size += len(part)
        self.is_completion = is_completion
        self.is_waiting = False
        self.is_open = False
        self.is_dropped = False
        self.is_refused = False
        self.may_be_stored = False
        self.owns_reference_id = owns_reference_id
        self.has_waited = False
        self.number = 0
        self.version = 0

    @property
    def is_of_session(self) -> bool:
        """Whether it is the description of a session, not a datapoint."""
        return not self.reference_id

    def add(self, part: bytes) -> None:
        """Add fields."""
        self.parts += (part,)
        self.size += len(part)


#: Stands in the queue for a datapoint that is complete.
_COMPLETE: Final = Entry(None, "", "")


class Queue:
    """A queue of entries. Beyond its limit the oldest are dropped.

    Threads, signal handlers and finalizers can use it at the same time, and never wait for the sending of an
    entry. A forked child begins with an empty queue, as its parent sends the waiting entries.

    A complete datapoint becomes an entry when it is taken out. Until then it is texts and bytes, which Python
    does not search for garbage.

    Args:
        limit: the most bytes of entries that wait or are being sent.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        # Reentrant: a signal handler or a finalizer may log within the steps below.
        self._lock = threading.RLock()
        self._waiting: deque[Entry] = deque()
        #: The arguments of :meth:`put_complete`, one after the other.
        self._complete: deque[Any] = deque()
        #: The bytes of the entries that wait or are being sent.
        self.size = 0
        #: The number of all entries since the beginning.
        self.put_in_all = 0
        #: The number of those that are stored, refused or dropped.
        self.settled = 0
        #: The number of those for which there was no room for good, since the last take_dropped().
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, entry: Entry) -> None:
        """Add an entry."""
        entry.is_waiting = True
        with self._lock:
            self._waiting.append(entry)
            self.put_in_all += 1
            self.size += entry.size
            if self.size > self.limit:
                self._make_room()

    def put_complete(
        self,
        session: Session | None,
        reference_id: str,
        root: str,
        fixed: bytes,
        owns_reference_id: bool,  # noqa: FBT001 - as in the queue
    ) -> None:
        """Add a datapoint to which nothing will be added; for the arguments see :class:`Entry`."""
        with self._lock:
            self._complete.extend((session, reference_id, root, fixed, owns_reference_id))
            self._waiting.append(_COMPLETE)
            self.put_in_all += 1
            self.size += OVERHEAD + len(fixed)
            if self.size > self.limit:
                self._make_room()

    def end(self, entry: Entry, part: bytes | None) -> bool:
        """End the datapoint of an entry, and add fields if it still waits; return whether it does."""
        with self._lock:
            entry.is_open = False
            if not entry.is_waiting:
                return False
            if part is None:
                return True
            self.size += len(part)
            entry.add(part)
            if self.size > self.limit:
                self._make_room()
            return True

    def take(self, most_bytes: int, most_entries: int) -> list[Entry]:
        """Take out the oldest entries, at least one if there is any, to be settled or given back."""
        taken: list[Entry] = []
        size = 0
        with self._lock:
            while self._waiting and len(taken) < most_entries:
                entry = self._oldest()
                size += entry.size
                if taken and size > most_bytes:
                    break
                entry.is_waiting = False
                self._waiting.popleft()
                taken.append(entry)
        return taken

    def give_back(self, entries: Sequence[Entry]) -> None:
        """Put entries back in front, as they could not be sent."""
        with self._lock:
            for entry in entries:
                entry.is_waiting = True
            self._waiting.extendleft(reversed(entries))
            self._make_room()

    def settle(self, entries: Sequence[Entry]) -> None:
        """Forget entries that were taken out."""
        with self._lock:
            self.settled += len(entries)
            self.size -= sum(entry.size for entry in entries)
            if self.settled == self.put_in_all:
                self.size = 0  # it may be wrong, if a signal handler has logged in the midst of a step

    def unsettled(self) -> int:
        """Return how many entries wait, or are being sent."""
        return self.put_in_all - self.settled

    def take_dropped(self) -> int:
        """Return how many entries were dropped for good, as there was no room, since the last call."""
        with self._lock:
            dropped, self.dropped = self.dropped, 0
        return dropped

    def drop_all(self) -> int:
        """Drop the waiting entries at the end; return how many another process will send."""
        with self._lock:
            dropped = self.dropped
            while self._waiting:
                self._drop_oldest()
            self.dropped = dropped  # not for lack of room: the caller tells of these
        return 0

    def save(self) -> None:
        """Save the waiting entries where they outlive the process, if there is such a place."""

    def _make_room(self) -> None:
        while self.size > self.limit and self._waiting:
            self._drop_oldest()

    def _oldest(self) -> Entry:
        entry = self._waiting[0]
        if entry is _COMPLETE:
            take = self._complete.popleft
            entry = self._waiting[0] = Entry(take(), take(), take(), take(), owns_reference_id=take())
            entry.is_waiting = True
        return entry

    def _drop_oldest(self) -> None:
        entry = self._oldest()
        self._waiting.popleft()
        entry.is_waiting, entry.is_dropped = False, True
        self.size -= entry.size
        self.settled += 1
        self.dropped += not entry.is_open
