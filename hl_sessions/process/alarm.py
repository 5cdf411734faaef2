"""An alarm that wakes a thread."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Alarm"]


class Alarm:
    """Wakes the one thread that waits for it, once for each time that it is set off.

    Unlike a ``threading.Event``, it takes no lock to be set off, so a signal handler or a finalizer may set
    it off while it interrupts another one.
    """

    def __init__(self) -> None:
        self._is_on = False
        self._wake: Callable[[], object] | None = None

    def set_off(self) -> None:
        """Wake the waiting thread, or the next one that waits."""
        self._is_on = True
        wake = self._wake
        if wake is not None:
            with suppress(RuntimeError):  # the thread is awake already
                wake()

    def is_on(self) -> bool:
        """Whether the next wait ends at once."""
        return self._is_on

    def wait(self, seconds: float) -> bool:
        """Wait until it is set off, at most ``seconds``; return whether it was, and reset it."""
        if not self._is_on:
            # Made here: gevent may have replaced locks since this object was made, and one of Python's would
            # block all greenlets.
            signal = threading.Lock()
            signal.acquire()
            self._wake = signal.release
            if not self._is_on:  # checked again, as it may have been set off before there was a signal
                signal.acquire(timeout=seconds)
            self._wake = None
        was_on = self._is_on
        if was_on:
            self._is_on = False
        return was_on
