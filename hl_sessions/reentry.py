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
_thread = threading.local()


def is_creating() -> bool:
    """Whether this thread is creating a session, or reporting on it, further up its stack."""
    return getattr(_thread, "creating", False)


def _is_audible(_: logging.LogRecord) -> bool:
    return not is_creating()


@contextmanager
def creating() -> Iterator[None]:
    """Mark this thread as creating a session: reads answer at once, the HTTP client logs nothing."""
    for logger in _HTTP_CLIENT_LOGGERS:
        logger.addFilter(_is_audible)
    before = is_creating()
    try:
        _thread.creating = True
        yield
    finally:
        _thread.creating = before
