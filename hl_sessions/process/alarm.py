"""Waking a thread."""

from __future__ import annotations

import threading
from contextlib import suppress

__all__ = ["Alarm"]


class Alarm:
    """Wakes the one thread that waits for it, once for each time that it was set off.

    Unlike a ``threading.Event``, which takes a lock for that, a signal handler or a finalizer may set it off
    that interrupts another one.
    """

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def set_off(self) -> None:
        """Have the thread that waits, or the next one that does, go on."""
        with suppress(RuntimeError):  # it is on already
            self._silence.release()

    def is_on(self) -> bool:
        """Whether the next thread that waits goes on at once."""
        return not self._silence.locked()

    def wait(self, seconds: float) -> bool:
        """Wait until it is set off, or for so many seconds; whether it was. It is silent then."""
        return self._silence.acquire(timeout=seconds)
