"""Coroutines that run side by side in one thread."""

import math
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from hl_sessions.process.outcome import Outcome
from hl_sessions.process.together import run_together
from hl_sessions.process.waits import Known, Ready
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


@pytest.mark.parametrize("has_poll", [True, False])
def test_a_wait_ends_with_a_socket_an_outcome_or_its_time(
    *, has_poll: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each goes on by itself, also one that waits again, for a new socket with the number of its last one."""
    if not has_poll:  # as on Windows, and where eventlet has removed it
        monkeypatch.delattr(select, "poll", raising=False)
    ended: list[object] = []

    async def talk() -> None:
        for _ in range(2):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                await Ready((), PATIENCE, writing=(ours,))
                theirs.send(b".")
                await Ready((theirs, ours), PATIENCE)
                ended.append(ours.recv(1))

    async def wait(outcome: Outcome[None], seconds: float) -> None:
        await Known(outcome, seconds)
        ended.append(outcome.is_known)

    known: Outcome[None] = Outcome()

    async def tell() -> None:
        await Known(Outcome(), 0.01)
        threading.Thread(target=known.set, args=(None,)).start()

    run_together([wait(known, math.inf), tell(), talk(), talk(), wait(Outcome(), 0.01)], at_once=5)

    assert sorted(map(str, ended)) == ["False", "True", *4 * ["b'.'"]]


@pytest.mark.parametrize("is_ready", [True, False], ids=["ready at once", "ready when all wait"])
def test_as_many_wait_at_once_as_may_unless_some_are_ready(*, is_ready: bool) -> None:
    """What is ready goes on before many others begin: the objects of each live for a short time."""
    begun, waiting, most = 0, 0, 0
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if is_ready:
            theirs.send(b".")

        async def work() -> None:
            nonlocal begun, waiting, most
            begun, waiting = begun + 1, waiting + 1
            most = max(most, waiting)
            if begun == 32:
                theirs.send(b".")
            with socket.fromfd(ours.fileno(), ours.family, ours.type) as own:
                await Ready((own,), PATIENCE)
            waiting -= 1

        run_together((work() for _ in range(100)), at_once=32)

    assert (begun, waiting) == (100, 0)
    assert (most < 16) == is_ready
