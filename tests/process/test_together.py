"""Coroutines that run side by side in one thread."""

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from hl_sessions.process.together import run_together
from tests.waiting import PATIENCE


@pytest.fixture
def no_forced_switches() -> Iterator[None]:
    """Let Python take the lock of the interpreter from no thread that keeps it."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(10 * PATIENCE)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the lock is that of CPython")
@pytest.mark.usefixtures("no_forced_switches")
def test_other_threads_run_between_coroutines_that_wait_for_nothing() -> None:
    """A thread that becomes ready meanwhile goes on, though each coroutine ends without a wait."""
    signal = threading.Lock()
    signal.acquire()
    has_run = []

    def go_on() -> None:
        signal.acquire()
        has_run.append(True)

    async def work() -> None:
        sum(range(1000))

    thread = threading.Thread(target=go_on)
    thread.start()
    signal.release()
    end = time.monotonic() + PATIENCE

    while not has_run and time.monotonic() < end:
        run_together((work() for _ in range(100)), at_once=32)

    assert has_run
    thread.join()
