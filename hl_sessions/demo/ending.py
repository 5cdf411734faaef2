"""Ending in order when told to: by Ctrl-C, by SIGTERM, or by the closing of the terminal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
]


@contextmanager
def told_to_end() -> Iterator[threading.Event]:
    """Give the event that is set once the process is told to end, for as long as the ``with`` block runs.

    No exception interrupts the main thread, wherever it is: what was started is always cleaned up.
    """
    event = threading.Event()
    before = {number: signal.signal(number, lambda *_: event.set()) for number in _SIGNALS}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for(event: threading.Event) -> None:
    """Wait until the event is set."""
    # Not one long wait: on Windows no signal would get through to it.
    while not event.wait(0.5):
        pass
