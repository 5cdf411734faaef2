"""One attempt to get an ID, which one reader makes, and for which all simultaneous readers wait."""

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

LOOK_INTERVAL = 0.2  # seconds after which a waiting reader checks whether the event loop has ended
LONGEST_DELAY = 10.0  # seconds by which a creation may exceed its deadline, on a busy machine


class Abandoned(Exception):  # noqa: N818 - not an error
    """The creator was interrupted; another reader goes on."""


class Obtained(NamedTuple):
    """An ID that a handle got.

    Attributes:
        session_id: the ID.
        is_created: whether its session was created for this handle, rather than found.
    """

    session_id: str
    is_created: bool


class Creation(Outcome[str]):
    """An attempt to get an ID, and its outcome."""

    __slots__ = ("deadline", "is_untold", "process", "run")

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.deadline = deadline
        self.process = os.getpid()
        #: Whether it has created a session for which on_created is not called yet.
        self.is_untold = False
        #: The run on an event loop, if there is one.
        self.run: Run | None = None

    def wait_or_finish(self, seconds: float) -> bool:
        """Wait for the outcome, at most ``seconds``; return whether it is known.

        A run whose event loop cannot finish it is finished here.
        """
        if self.run is None:
            return self.wait(seconds)
        end = time.monotonic() + seconds
        while not self.is_known and time.monotonic() < end:
            self.finish_if_stuck()
            self.wait(LOOK_INTERVAL)
        return self.is_known

    async def wait_for_task(self, seconds: float, workers: WorkerThreads) -> None:
        """Wait for the outcome, at most ``seconds``, while the event loop keeps running.

        A run of another event loop, which has ended, is finished by one of the workers.
        """
        end = time.monotonic() + seconds
        while not self.is_known and time.monotonic() < end:
            if self.is_orphaned():
                workers.begin(self.finish_if_stuck)
            await self.wait_in_task(LOOK_INTERVAL)

    def is_orphaned(self) -> bool:
        """Whether its event loop has ended before it."""
        return self.run is not None and self.run.is_orphaned()

    def finish_if_stuck(self) -> None:
        """Finish the run of an event loop that has ended, or that waits for this thread."""
        run = self.run
        if run is not None and (run.is_orphaned() or run.is_of_this_thread()):
            run.finish()


class _Lock:
    """Guards the few steps in which readers agree on the creator; never held during a wait.

    Reentrant, as a signal handler or a finalizer may read inside those steps.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self.lock = threading.RLock()


agreement = _Lock()
