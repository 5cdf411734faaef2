"""The start of threads, also in a process in which none can be started.

There may be too many threads already, or the interpreter starts no daemons, or no threads at all.
"""

from __future__ import annotations

import logging
import sys
import threading
from contextvars import Context
from typing import TYPE_CHECKING

from hl_sessions.process.once import Once
from hl_sessions.process.reentry import creating
from hl_sessions.process.saying import say

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["no_threads", "start_thread"]


class _NoThreads:
    """Warns once that no thread can be started, which is no failure of the sessions API."""

    def __init__(self) -> None:
        self._once = Once()
        self._error: RuntimeError | None = None

    def note(self, error: RuntimeError) -> None:
        """Keep the error of a thread's start, unless the interpreter is ending."""
        if not sys.is_finalizing():
            self._error = error

    def report(self) -> None:
        """Log the kept error, if it is the first; never called while another thread waits for this one."""
        if self._error is not None and not self._once.said and self._once.is_first():
            with creating():  # for a handler that reads the ID meanwhile
                say(
                    logging.WARNING,
                    "no thread can be started, and reads that need one get no session ID (said once per"
                    " process): %s",
                    self._error,
                )


no_threads = _NoThreads()


def start_thread(function: Callable[[], object], name: str) -> threading.Thread | None:
    """Call ``function`` in a daemon thread, and return the thread; ``None`` if none can be started.

    The thread has an empty context. If it inherited one, it would keep the session of its first user.
    """
    if sys.is_finalizing():  # the thread would never begin, but its result be waited for
        return None
    try:
        thread = threading.Thread(target=Context().run, args=(function,), name=name, daemon=True)
        thread.start()
    except RuntimeError as error:
        no_threads.note(error)
        return None
    return thread
