"""Time in tests: limits, a clock that stands still, threads that are waited for."""

import contextvars
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from hl_sessions import Session

PATIENCE = 100.0  # seconds until what a test waits for counts as what never comes, on the busiest of machines
MARGIN = 20.0  # seconds that a busy machine may take beyond a time limit


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds + MARGIN


class StillClock:
    """A clock that goes on only when a test puts it forward: however busy the machine is, no time passes.

    It begins with a whole second, so that whole seconds that are added to it, and taken from it, are exact.
    """

    def __init__(self) -> None:
        self._begun = float(math.ceil(time.monotonic()))
        self.offset = 0.0

    def monotonic(self) -> float:
        return self._begun + self.offset


def wait_until(condition: Callable[[], object]) -> None:
    """For what can only be observed: that a thread has begun to wait."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def waiting_threads(session: Session) -> int:
    """How many threads wait for the session to be created by another one."""
    creation = session._details.creation if session._details is not None else None
    return 0 if creation is None else len(creation._wakers)


def in_threads(function: Callable[[], Any], count: int = 1) -> list[Future[Any]]:
    """Call a function in that many threads, each with a copy of the caller's context."""
    futures: list[Future[Any]] = []
    for _ in range(count):
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        target = threading.Thread(target=context.run, args=(_call_into, future, function), daemon=True)
        target.start()
        futures.append(future)
    return futures


def _call_into(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 - handed to the test
        future.set_exception(error)
