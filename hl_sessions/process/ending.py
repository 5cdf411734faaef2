"""The end of the process: what its worker threads are doing is given up, as they would keep it waiting."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - has to register its own function before, see below
import threading
import weakref
from typing import Protocol

__all__ = ["end_at_last", "end_with_process"]


class Endable(Protocol):
    """What may have something under way in worker threads when the process ends."""

    def _end_with_process(self) -> None: ...


class LateEndable(Endable, Protocol):
    """What other threads may use as long as there are any."""

    def _end_at_last(self) -> None: ...


_endables: weakref.WeakSet[Endable] = weakref.WeakSet()
_late_endables: weakref.WeakSet[LateEndable] = weakref.WeakSet()


def end_with_process(endable: Endable) -> None:
    """Call ``endable._end_with_process()`` when the main thread has ended; others may go on after it."""
    _endables.add(endable)


def end_at_last(endable: LateEndable) -> None:
    """Do as :func:`end_with_process`, and call ``endable._end_at_last()`` after all threads but daemons.

    Functions that were registered with ``atexit`` after the import of this package have been called by then.
    """
    end_with_process(endable)
    _late_endables.add(endable)


def _end_all() -> None:
    for endable in tuple(_endables):
        endable._end_with_process()


@atexit.register
def _end_all_at_last() -> None:
    for endable in tuple(_late_endables):
        endable._end_at_last()


# Functions of atexit come too late: before them the interpreter waits for the threads of all executors. What
# is registered here comes before that, the last one first. No documentation names the function: without it
# the process waits for what is under way.
_register = getattr(threading, "_register_atexit", None)
if _register is not None:
    _register(_end_all)
