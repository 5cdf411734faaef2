"""A thread for occasional work that has to be done soon."""

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
    """A thread that works a moment after it is told to, and exists only while it is needed.

    After a fork, its owner makes a new one.

    Args:
        work: does all waiting work. Returns the seconds until the next call, ``None`` if that can wait for
            :meth:`tell`.
        name: the name of the thread.
        delay: seconds from :meth:`tell` to the work, so that more work can be added.
    """

    def __init__(self, work: Callable[[], float | None], name: str, delay: float) -> None:
        self._work = work
        self._name = name
        self._delay = delay
        self._idle = IDLE
        self._lock = threading.RLock()
        self._wake = Alarm()
        self._hurry = Alarm()
        #: Whether the thread exists; after :meth:`tell` it does, unless no thread can be started.
        self.is_there = False
        #: Whether it will work before it waits for :meth:`tell`.
        self.is_told = False

    def tell(self) -> None:
        """Let the thread work after the delay."""
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
        """Let the thread work without delay."""
        if not self._hurry.is_on():
            self._hurry.set_off()
        self.tell()

    def retire(self) -> None:
        """Let the thread check for work at once, and end as soon as it has none."""
        self._idle = 0.0
        self._hurry.set_off()
        self._wake.set_off()

    def _run(self) -> None:
        try:
            self._work_while_needed()
        except BaseException:  # the thread was stopped from outside: another one goes on
            with self._lock:
                self.is_there = self.is_told = False
            self.tell()
            raise

    def _work_while_needed(self) -> None:
        seconds: float | None = 0.0
        while True:
            self._hurry.wait(max(self._delay, seconds or 0.0))
            self.is_told = False  # work that comes from now on is for the next call
            try:
                seconds = self._work()
            except Exception as error:  # noqa: BLE001 - an error of the work must not end the thread
                show(error)
                seconds = None
            if seconds is not None:
                self.is_told = True
            elif not self._wake.wait(self._idle):
                with self._lock:
                    if not self.is_told:
                        self.is_there = False
                        return
