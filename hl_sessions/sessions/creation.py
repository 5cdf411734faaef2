"""One attempt to get an ID: one reader makes it, all simultaneous ones wait for it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.outcome import Outcome

if TYPE_CHECKING:
    from hl_sessions.client.deadline import Deadline

__all__ = ["LONGEST_DELAY", "Abandoned", "Creation", "agreement"]

LONGEST_DELAY = 10.0  # seconds that a creation may go on beyond its deadline, on a machine that is busy


class Abandoned(Exception):  # noqa: N818 - not an error
    """The creator was interrupted; another reader goes on."""


class Creation(Outcome[str]):
    """The attempt, and its outcome."""

    __slots__ = ("deadline", "process")

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.deadline = deadline
        self.process = os.getpid()


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
