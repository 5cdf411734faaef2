"""The mark of threads that create a session, in which reads and log records would dead-lock.

A read of the ID in there would wait for itself. And the HTTP client must not log through the application's
handlers. A handler holds its lock while it emits. If it reads the ID, it waits for the creating thread, which
must therefore never wait for that lock.
"""

from __future__ import annotations

import logging
import threading

from hl_sessions.process.fork import renew_after_fork

__all__ = ["creating", "is_creating", "mute_while_creating"]


class _CreatingThreads:
    """The idents of the creating threads.

    Not a ``threading.local``: one that was made before gevent's patches is shared by all greenlets of a
    thread, but their idents differ after the patches.
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
    """Mute loggers in threads that are creating a session."""
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
    """Mark this thread as creating a session: reads return at once, and its clients log nothing."""

    #: The ident of the thread, if it was not marked further up its stack; 0: it was.
    _ident = 0

    def __enter__(self) -> None:
        ident = threading.get_ident()
        if ident not in _creating.idents:
            self._ident = ident
            _creating.idents.add(ident)

    def __exit__(self, *_: object) -> None:
        if self._ident:
            _creating.idents.discard(self._ident)
            self._ident = 0

    # A signal handler may raise right after __enter__, or right before __exit__, where no code can catch it.
    __del__ = __exit__
