"""The end of the process, at which the work of its worker threads is given up, as it would delay the end."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - has to register its own function first, see below
import threading
import weakref
from typing import Protocol

__all__ = ["end_at_last", "end_with_process"]


class Endable(Protocol):
    """An object that may have work in worker threads when the process ends."""

    def _end_with_process(self) -> None: ...


class LateEndable(Endable, Protocol):
    """An object that other threads may use until they end."""

    def _end_at_last(self) -> None: ...


_endables: weakref.WeakSet[Endable] = weakref.WeakSet()
_late_endables: weakref.WeakSet[LateEndable] = weakref.WeakSet()


def end_with_process(endable: Endable) -> None:
    """Call ``endable._end_with_process()`` after the main thread has ended; other threads may go on."""
    _endables.add(endable)


def end_at_last(endable: LateEndable) -> None:
    """Do :func:`end_with_process`, and call ``endable._end_at_last()`` after all non-daemon threads.

    Functions that were registered with ``atexit`` after the import of this package are called before that.
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


# Functions of atexit are called too late: before them the interpreter waits for the threads of all executors.
# Functions that are registered here are called before that, the last one first. The function is undocumented;
# without it, the end of the process waits for the work under way.
_register = getattr(threading, "_register_atexit", None)
if _register is not None:
    _register(_end_all)
