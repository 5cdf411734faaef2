"""Messages that are logged once in the life of a process."""

from __future__ import annotations

import threading

from hl_sessions.process.fork import renew_after_fork

__all__ = ["Once"]


class Once:
    """Distinguishes the first caller from all others.

    Attributes:
        said: whether there was a call.
    """

    def __init__(self) -> None:
        self.said = False
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()

    def is_first(self) -> bool:
        """Whether this is the first call in the process."""
        with self._lock:
            is_first, self.said = not self.said, True
            return is_first
