"""Starting threads, also in a process in which none can be started.

There may be too many of them already, or the interpreter is one that starts no daemons, or no threads.
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
    """Says once that no thread can be started, which is no failure of the sessions API."""

    def __init__(self) -> None:
        self._once = Once()
        self._error: RuntimeError | None = None

    def note(self, error: RuntimeError) -> None:
        """Keep what starting a thread has raised, unless that is because the interpreter ends."""
        if not sys.is_finalizing():
            self._error = error

    def report(self) -> None:
        """Log what was kept, if it is the first; never while another thread waits for what is done here."""
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
    """Call ``function`` in a daemon thread, and return that; ``None`` where no thread can be started.

    It has an empty context: where threads inherit one, it would keep the session of whoever needed it first.
    """
    if sys.is_finalizing():  # it would never begin, and be waited for
        return None
    try:
        thread = threading.Thread(target=Context().run, args=(function,), name=name, daemon=True)
        thread.start()
    except RuntimeError as error:
        no_threads.note(error)
        return None
    return thread
