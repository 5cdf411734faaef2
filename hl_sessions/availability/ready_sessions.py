"""Sessions created ahead of the reads that will need them."""

from __future__ import annotations

import math
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ReadySessions"]

MAX_AGE = 180.0  # seconds after which a session is not handed out any more
MAX_THREADS = 4  # threads that create at the same time
POLL_INTERVAL = 0.02  # seconds between looks for missing sessions, shortly after some were missing
POLLS = 50  # looks of a thread before it waits to be woken
IDLE_TIME = 10.0  # seconds without work after which a thread ends


class ReadySessions:
    """Keeps sessions ready, as many as the recent reads have needed.

    No session is created before the first read. Each read that finds none ready doubles the number to keep,
    up to ``limit``. Each session that grows too old reduces it by one. If reads are so rare that every
    session would grow too old, none is kept. The threads are daemons, and end when they have nothing to do.

    Args:
        limit: the most sessions that are kept ready, 1 or more.
        create: creates a session and returns its ID. Its errors are ignored, as a read will get the same.
    """

    def __init__(self, limit: int, create: Callable[[], str]) -> None:
        self._limit = limit
        self._create = create
        self._is_closed = False
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        #: The ready sessions, oldest first: the ID, and the time until which it is handed out.
        #: After a fork they belong to the parent, as no session may be handed out twice.
        self.ready: deque[tuple[str, float]] = deque()
        #: The number of threads that poll for missing sessions, so that no read has to wake one.
        self.polling = 0
        self._wanted = 1
        self._last_read = -math.inf
        self._under_way = 0
        self._threads = 0
        self._waiting = 0  # threads that wait
        self._is_failing = False
        self._condition = threading.Condition()

    def take(self, keep: Callable[[str], str]) -> str | None:
        """Pass the ID of a ready session to ``keep``; never waits for a creation.

        Do not call this under a lock: it may start a thread that creates missing sessions, which lets other
        threads and greenlets run.

        Args:
            keep: keeps an ID, unless there is one already, and returns the one that is kept.

        Returns:
            The result of ``keep``, ``None`` if no session is ready.
        """
        return self.take_with_care(self._pop(), keep)

    def take_with_care(self, taken: tuple[str, float] | None, keep: Callable[[str], str]) -> str | None:
        """Do the same as :meth:`take`, with a session from :attr:`ready`, or the next one if it is too old.

        A caller that finds :attr:`polling` threads, and a session that is young enough, need not call this.
        """
        now = monotonic()
        while taken is not None and now >= taken[1]:
            self._wanted = max(0, self._wanted - 1)
            taken = self._pop()
        # A further session would have helped, if this read was not the first for long, and creations work.
        if taken is None and now - self._last_read < MAX_AGE and not self._is_failing:
            self._wanted = min(max(1, 2 * self._wanted), self._limit)
        self._last_read = now
        kept = None
        if taken is not None:
            kept = keep(taken[0])
            if kept is not taken[0]:  # another reader of the same session was faster
                self.ready.appendleft(taken)
        if not (self.polling and self.ready):
            self._refill()
        return kept

    def _pop(self) -> tuple[str, float] | None:
        try:
            return self.ready.popleft()
        except IndexError:
            return None

    def _refill(self) -> None:
        with self._condition:
            self._is_failing = False
            missing = self._missing()
            self._condition.notify(missing)
            if missing <= self._waiting or self._threads >= MAX_THREADS:
                return
            self._threads += 1
        if start_thread(self._create_missing, "hl-sessions-prefetch") is None:
            with self._condition:
                self._threads -= 1

    def close(self) -> None:
        """Create no more sessions, and drop the ready ones."""
        with self._condition:
            self._is_closed = True
            self.ready.clear()
            self._condition.notify_all()

    def _missing(self) -> int:
        if self._is_closed or self._is_failing:
            return 0
        return max(0, self._wanted - len(self.ready) - self._under_way)

    def _create_missing(self) -> None:
        while self._is_needed():
            try:
                session_id = self._create()
            except Exception:  # noqa: BLE001 - a read that creates a session gets and reports the same error
                session_id = None
            with self._condition:
                self._under_way -= 1
                if session_id is None:
                    self._is_failing = True  # until the next read
                elif not self._is_closed:
                    self.ready.append((session_id, monotonic() + MAX_AGE))

    def _is_needed(self) -> bool:
        """Wait until a session is missing; ``False`` ends the thread."""
        with self._condition:
            self._waiting += 1
            is_needed = self._poll() or self._wait(IDLE_TIME)
            self._waiting -= 1
            if self._is_closed or not is_needed:
                self._threads -= 1
                return False
            self._under_way += 1
            return True

    def _poll(self) -> bool:
        # Polls, as waking a thread takes longer than all other steps of a read.
        self.polling += 1
        try:
            return any(self._wait(POLL_INTERVAL) for _ in range(POLLS))
        finally:
            self.polling -= 1

    def _wait(self, seconds: float) -> bool:
        return bool(self._condition.wait_for(lambda: self._missing() or self._is_closed, seconds))
