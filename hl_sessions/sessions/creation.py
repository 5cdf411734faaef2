"""One attempt to get an ID: one reader makes it, all simultaneous ones wait for it."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.outcome import Outcome

if TYPE_CHECKING:
    from hl_sessions.client.deadline import Deadline
    from hl_sessions.process.runs import Run
    from hl_sessions.process.worker_threads import WorkerThreads

__all__ = ["LONGEST_DELAY", "LOOK_INTERVAL", "Abandoned", "Creation", "Obtained", "agreement"]

LOOK_INTERVAL = 0.2  # seconds after which a reader that waits looks whether the event loop has ended
LONGEST_DELAY = 10.0  # seconds that a creation may go on beyond its deadline, on a machine that is busy


class Abandoned(Exception):  # noqa: N818 - not an error
    """The creator was interrupted; another reader goes on."""


class Obtained(NamedTuple):
    """An ID that a handle got.

    Attributes:
        session_id: the ID.
        is_created: whether its session was created for this handle, and not found.
    """

    session_id: str
    is_created: bool


class Creation(Outcome[str]):
    """The attempt, and its outcome."""

    __slots__ = ("deadline", "is_untold", "process", "run")

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.deadline = deadline
        self.process = os.getpid()
        #: Whether it has created a session that the application is still to be told of.
        self.is_untold = False
        #: Where it is carried out on an event loop.
        self.run: Run | None = None

    def wait_or_finish(self, seconds: float) -> bool:
        """Return when it is known, or after so many seconds; whether it is.

        What an event loop has begun and cannot finish is finished here.
        """
        if self.run is None:
            return self.wait(seconds)
        end = time.monotonic() + seconds
        while not self.is_known and time.monotonic() < end:
            self.finish_if_stuck()
            self.wait(LOOK_INTERVAL)
        return self.is_known

    async def wait_for_task(self, seconds: float, workers: WorkerThreads) -> None:
        """Return when it is known, or after so many seconds, while the event loop keeps running.

        What another task has begun on an event loop that ends before it is finished by one of the workers.
        """
        end = time.monotonic() + seconds
        while not self.is_known and time.monotonic() < end:
            if self.is_orphaned():
                workers.begin(self.finish_if_stuck)
            await self.wait_in_task(LOOK_INTERVAL)

    def is_orphaned(self) -> bool:
        """Whether the event loop that it is carried out on has ended before it."""
        return self.run is not None and self.run.is_orphaned()

    def finish_if_stuck(self) -> None:
        """Finish what an event loop has begun, if that has ended, or waits for this thread."""
        run = self.run
        if run is not None and (run.is_orphaned() or run.is_of_this_thread()):
            run.finish()


class _Lock:
    """Guards the few steps in which readers agree on who creates; never held while anything waits.

    Reentrant, as a signal handler or a finalizer may read inside those steps.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self.lock = threading.RLock()


agreement = _Lock()
