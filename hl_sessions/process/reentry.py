"""What must not happen inside the creation of a session.

Reading an ID there would wait for itself. And the HTTP client must not log through the application's
handlers: a handler holds its lock while it emits, and if it reads the ID there it waits for the thread
that creates, which must then never wait for that lock.
"""

from __future__ import annotations

import logging
import threading

from hl_sessions.process.fork import renew_after_fork

__all__ = ["creating", "is_creating", "mute_while_creating"]


class _CreatingThreads:
    """The idents of the threads that are creating.

    Not a ``threading.local``: one that was made before gevent's patches is shared by all greenlets of a
    thread, whereas their idents differ from then on.
    """

    def __init__(self) -> None:
        self.idents: set[int] = set()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self.idents &= {threading.get_ident()}


_creating = _CreatingThreads()


def is_creating() -> bool:
    """Whether this thread is creating a session, or reporting on it, further up its stack."""
    return threading.get_ident() in _creating.idents


def _is_audible(_: logging.LogRecord) -> bool:
    return not is_creating()


def mute_while_creating(*names: str) -> None:
    """Have loggers say nothing of what a thread does while it is creating a session."""
    for name in names:
        logging.getLogger(name).addFilter(_is_audible)


mute_while_creating(
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
)


class creating:  # noqa: N801 - used like a function
    """Mark this thread as creating a session: reads answer at once, the clients that it uses log nothing."""

    __slots__ = ("_ident", "_is_outermost")

    def __init__(self) -> None:
        self._is_outermost = False

    def __enter__(self) -> None:
        self._ident = threading.get_ident()
        self._is_outermost = self._ident not in _creating.idents
        _creating.idents.add(self._ident)

    def __exit__(self, *_: object) -> None:
        if self._is_outermost:
            _creating.idents.discard(self._ident)
            self._is_outermost = False

    # What a signal handler raises right after the one, or right before the other, is nobody's to catch.
    __del__ = __exit__
