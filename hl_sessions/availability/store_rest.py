"""The rest of a conversation store while it fails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from hl_sessions.availability.outage import Incident, Outage
from hl_sessions.process.fork import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable

    from hl_sessions.availability.reports import Reports

__all__ = ["StoreRest"]


class StoreRest:
    """Decides when to use a conversation store: after a failure it rests for a while, longer each time.

    An outage lasts from its first failure until the store works, and the last failure is a while ago.

    Args:
        reports: takes the reports of the beginning and the end of an outage.
    """

    def __init__(self, reports: Reports) -> None:
        self._incident = Incident(reports, "the conversation store is back after %.1f seconds")
        #: Called when the store has worked after a rest.
        self.on_back: Callable[[], object] = lambda: None
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._outage = Outage(self._incident)
        self._is_resting = False
        self._is_trial = False  # whether a caller was told to use the store after a rest

    def is_over(self) -> bool:
        """Whether to use the store. After a rest, only one caller may, until it has tried."""
        if not self._is_resting:
            return True
        with self._lock:
            if self._outage.is_cooling_off():
                return False
            self._outage.begin_trial(self._outage.pause)
            self._is_trial = True
            return True

    def begin(self, error: Exception) -> None:
        """Note that the store has failed."""
        with self._lock:
            self._outage.failed(
                "the conversation store fails, scopes with a key fall back to a session of their own: %s",
                _described(error),
            )
            if self._is_resting and not self._is_trial:
                return  # the failure of a call that was under way when the rest began
            self._is_resting, self._is_trial = True, False
            self._outage.cool_off()

    def end(self) -> None:
        """Note that the store has worked."""
        if not self._outage.is_on:
            return
        with self._lock:
            was_resting, self._is_resting = self._is_resting, False
            if self._outage.is_on and self._outage.is_calm():
                self._outage.end()
        if was_resting:
            self.on_back()


def _described(error: Exception) -> str:
    # The error of another store may hold a conversation key, which may be personal.
    is_of_a_database = type(error).__module__.partition(".")[0] in {"redis", "sqlite3"}
    shows_no_key = isinstance(error, OSError) or is_of_a_database
    return f"{type(error).__name__}: {error}" if shows_no_key else type(error).__name__
