"""A thread for what has to be done soon, now and then."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from hl_sessions.process.alarm import Alarm
from hl_sessions.process.saying import show
from hl_sessions.process.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ThreadOnDemand"]

IDLE = 10.0  # seconds without work after which the thread ends


class ThreadOnDemand:
    """A thread that works a moment after it was told to, and is there only while it is needed.

    Whoever renews its owner after a fork makes a new one.

    Args:
        work: does all that there is to do; returns the seconds until it has to be called again, ``None`` if
            that can wait until somebody tells.
        name: of the thread.
        delay: seconds from the first word to the work, in which more may come.
    """

    def __init__(self, work: Callable[[], float | None], name: str, delay: float) -> None:
        self._work = work
        self._name = name
        self._delay = delay
        self._idle = IDLE
        self._lock = threading.RLock()
        self._wake = Alarm()
        self._hurry = Alarm()
        #: Whether there is one; where none can be started there is none after :meth:`tell`.
        self.is_there = False
        #: Whether it will work before it waits without an end.
        self.is_told = False

    def tell(self) -> None:
        """Have it work after the delay."""
        if self.is_told:
            return
        with self._lock:
            if not self.is_told:
                self.is_told = True
                if self.is_there:
                    self._wake.set_off()
                else:
                    self.is_there = start_thread(self._run, self._name) is not None
                    self.is_told = self.is_there

    def hurry(self) -> None:
        """Have it work without delay."""
        if not self._hurry.is_on():
            self._hurry.set_off()
        self.tell()

    def retire(self) -> None:
        """Have it end as soon as it has nothing left to do, which it looks for at once."""
        self._idle = 0.0
        self._hurry.set_off()
        self._wake.set_off()

    def _run(self) -> None:
        try:
            self._work_while_needed()
        except BaseException:  # of whoever ends a thread: another one goes on
            with self._lock:
                self.is_there = self.is_told = False
            self.tell()
            raise

    def _work_while_needed(self) -> None:
        seconds: float | None = 0.0
        while True:
            self._hurry.wait(max(self._delay, seconds or 0.0))
            self.is_told = False  # what comes from here on is for the next time
            try:
                seconds = self._work()
            except Exception as error:  # noqa: BLE001 - a fault of the work must not end the thread
                show(error)
                seconds = None
            if seconds is not None:
                self.is_told = True
            elif not self._wake.wait(self._idle):
                with self._lock:
                    if not self.is_told:
                        self.is_there = False
                        return
