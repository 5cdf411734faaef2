"""Ends a process in order after Ctrl-C, SIGTERM, or the closing of the terminal."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
]


class Ending:
    """Knows whether the process was told to end."""

    def __init__(self) -> None:
        # Not an Event: a signal handler that sets one may wait for the lock of the wait that it interrupted.
        self._signals: SimpleQueue[int] = SimpleQueue()

    def is_told(self) -> bool:
        """Tell whether the process was told to end."""
        return not self._signals.empty()

    def tell(self, number: int, _frame: object) -> None:
        """Note a signal."""
        self._signals.put(number)

    def wait(self) -> None:
        """Wait until the process is told to end."""
        while True:
            try:
                # Not one long wait: on Windows no signal would get through to it.
                self._signals.get(timeout=0.5)
            except Empty:
                continue
            return


@contextmanager
def told_to_end() -> Iterator[Ending]:
    """Listen for the signals while the ``with`` block runs.

    The main thread is never interrupted by an exception, so everything that was started is cleaned up.
    """
    ending = Ending()
    before = {number: signal.signal(number, ending.tell) for number in _SIGNALS}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
