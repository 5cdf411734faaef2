"""Log records that wait until it is safe to emit them."""

from __future__ import annotations

from collections import deque

from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.reentry import creating
from hl_sessions.process.saying import say
from hl_sessions.process.threads import no_threads

__all__ = ["Reports"]


class Reports:
    """Log records that are kept back until it is safe to emit them.

    Otherwise a logging handler that holds its lock might wait for the very creation that logs the record.
    """

    def __init__(self) -> None:
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        # The parent logs its own records.
        self._records: deque[tuple[int, str, tuple[object, ...]]] = deque()

    def add(self, level: int, message: str, *arguments: object) -> None:
        """Keep a record; the arguments are those of ``Logger.log``."""
        self._records.append((level, message, arguments))

    def emit(self) -> None:
        """Log the kept records, each once, and the warning that no thread can be started, if that is so.

        A handler that reads the ID meanwhile creates no session.
        """
        no_threads.report()
        while self._records:
            try:
                level, message, arguments = self._records.popleft()
            except IndexError:  # another thread was faster
                return
            with creating():
                say(level, message, *arguments)
