"""What must not happen inside the creation of a session.

Reading an ID there would wait for itself. And the HTTP client must not log through the application's
handlers: a handler holds its lock while it emits, and if it reads the ID there it waits for the thread
that creates, which must then never wait for that lock.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hl_sessions.fork import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["creating", "is_creating"]

_HTTP_CLIENT_LOGGERS = tuple(
    logging.getLogger(name)
    for name in (
        "urllib3.connection",
        "urllib3.connectionpool",
        "urllib3.poolmanager",
        "urllib3.response",
        "urllib3.util.retry",
    )
)


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


@contextmanager
def creating() -> Iterator[None]:
    """Mark this thread as creating a session: reads answer at once, the HTTP client logs nothing."""
    for logger in _HTTP_CLIENT_LOGGERS:
        logger.addFilter(_is_audible)
    ident = threading.get_ident()
    is_outermost = ident not in _creating.idents
    try:
        _creating.idents.add(ident)
        yield
    finally:
        if is_outermost:
            _creating.idents.discard(ident)
