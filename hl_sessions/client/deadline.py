"""The end of one exchange with the API."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deadline"]

LONGEST_TIMEOUT = 1e6  # seconds: sockets cannot count much further


class Deadline:
    """The end of one exchange, shared by all of its attempts.

    The time-outs of ``requests`` and urllib3 apply to each socket operation and each attempt. A dripping
    answer, a slow name server or a retry exceeds them. A deadline covers an exchange from the first name
    look-up to the last byte of the body, over all attempts.

    Args:
        seconds: the time for the exchange.
        connect: the longest time in seconds for making a connection, within ``seconds``.
        rest: the longest time in seconds from the first connection until the end, within ``seconds``.
        begun: when the exchange began, of ``time.monotonic()``; ``None``: now.
    """

    def __init__(
        self,
        seconds: float,
        connect: float | None = None,
        rest: float | None = None,
        *,
        begun: float | None = None,
    ) -> None:
        self._seconds = min(seconds, LONGEST_TIMEOUT)
        self._end = (time.monotonic() if begun is None else begun) + self._seconds
        self._connect_limit = seconds if connect is None else connect
        self._rest = rest
        #: Whether a worker thread runs the exchange, for tasks of an event loop that ends with the process.
        self.is_of_worker = False
        self.is_aborted = False
        self._has_begun_late: bool | None = None
        self._lock = threading.RLock()
        self._wakes: list[Callable[[], object]] = []

    def abort(self) -> None:
        """End the exchange now, from another thread: it stops waiting, and is not tried again."""
        with self._lock:
            self.is_aborted = True
            self._end = 0.0
            for wake in self._wakes:
                wake()

    def on_abort(self, wake: Callable[[], object]) -> None:
        """Call ``wake``, which must not raise, when the deadline is aborted, or now if it was."""
        with self._lock:
            self._wakes.append(wake)
            if self.is_aborted:
                wake()

    def end_exchange(self) -> None:
        """Forget the functions of :meth:`on_abort`: a later abort calls none."""
        with self._lock:
            self._wakes.clear()

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Wait for ``event``, at most ``seconds``, or until the deadline is aborted."""
        self.on_abort(event.set)
        event.wait(seconds)

    def remaining(self) -> float:
        """Return the seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def is_late(self) -> bool:
        """Whether less than half of the time is left."""
        return 2 * self.remaining() < self._seconds

    def note_begin(self) -> None:
        """Note that the first attempt begins now, after a wait for a thread."""
        if self._has_begun_late is None:
            self._has_begun_late = self.is_late()

    def has_begun_late(self) -> bool:
        """Whether less than half of the time was left when the first attempt began."""
        return bool(self._has_begun_late)

    @property
    def connect_timeout(self) -> float:
        """The seconds that making a connection may take from now on."""
        return min(self.remaining(), self._connect_limit)

    def connected(self) -> float:
        """Note that there is a connection, and return the seconds for the rest of the exchange."""
        if self._rest is not None:
            self._end = min(self._end, time.monotonic() + self._rest)
            self._rest = None
        return self.remaining()
