"""A process in which no thread can be started."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import hl_sessions.process.threads

MORE_THAN_THERE_IS = 1 << 47  # bytes of addresses, for the stack of a thread


@contextmanager
def no_threads() -> Iterator[None]:
    """Let no thread start, those of servers included, until this is left; later warnings are not logged."""
    size = threading.stack_size(MORE_THAN_THERE_IS)
    try:
        yield
    finally:
        threading.stack_size(size)
        hl_sessions.process.threads.no_threads.__init__()  # type: ignore[misc]
