"""Turns of work in a background thread, between which other threads run."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Turns"]

# Python takes the lock of the interpreter from a thread only after 5 ms, for which a request would wait.
# System calls release it, but short ones have it back before another thread is awake.
TURN = 2.5e-4  # seconds of work after which other threads get the lock
# Long enough for others to end a request: threads that take the lock from each other in between cost more.
PAUSE = 2.5e-4  # seconds


class Turns:
    """The turns of one piece of work, the first of which begins now."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin a turn, as other threads had the lock just now."""
        self._end = time.perf_counter() + TURN

    def pause_if_over(self) -> None:
        """Let other threads run if the turn is over; called after each short step of the work."""
        if time.perf_counter() > self._end:
            time.sleep(PAUSE)
            self.begin()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Begin a turn after a wait in the context, unless the wait is shorter than a pause."""
        started = time.perf_counter()
        yield
        if time.perf_counter() - started > PAUSE:
            self.begin()
