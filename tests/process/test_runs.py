"""Coroutines that event loops run, and that threads finish."""

import asyncio
import gc
import select
import socket
import weakref
from typing import Any

import pytest

from hl_sessions.process import runs
from hl_sessions.process.outcome import Outcome
from hl_sessions.process.waits import Known, Ready, Wait
from hl_sessions.process.worker_threads import WorkerThreads
from tests.waiting import PATIENCE, StillClock


def current_loop() -> runs.EventLoop:
    loop = runs.current_loop()
    assert loop is not None
    return loop


def test_what_a_thread_finishes_waits_no_longer_than_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a wait of 50 seconds 30 have passed on the event loop."""
    clock = StillClock()
    monkeypatch.setattr(runs, "time", clock)
    waits: list[float] = []

    class Noted(Known):
        def block(self) -> None:
            waits.append(self.seconds)

    async def work() -> None:
        await Noted(Outcome[Any](), 50)

    async def main() -> None:
        run = runs.Run(work(), current_loop(), WorkerThreads())
        clock.offset += 30
        run.finish()

    asyncio.run(main())
    assert waits == [20]


def test_a_wait_that_could_not_begin_ends_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread goes on with it, and the loop has forgotten it when the same socket is waited for again."""
    loop: asyncio.AbstractEventLoop

    async def wait(for_what: Wait[None], is_over: asyncio.Event) -> None:
        await for_what
        loop.call_soon_threadsafe(is_over.set)

    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    async def main() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        first, second, third = asyncio.Event(), asyncio.Event(), asyncio.Event()
        with monkeypatch.context() as patched:
            patched.setattr(select, "epoll", fail, raising=False)
            patched.setattr(loop, "add_reader", fail)
            runs.Run(wait(Ready((here,), 0), first), current_loop(), workers)
        runs.Run(wait(Ready((here,), 10 * PATIENCE), second), current_loop(), workers)
        # The first one is over on the loop, too, before this one, which began later.
        runs.Run(wait(Known(Outcome[Any](), 0), third), current_loop(), workers)
        for is_over in (first, third):
            await asyncio.wait_for(is_over.wait(), PATIENCE)
        there.send(b"x")
        await asyncio.wait_for(second.wait(), PATIENCE)

    workers = WorkerThreads()
    here, there = socket.socketpair()
    with here, there:
        asyncio.run(main())


def test_a_closed_loop_is_forgotten() -> None:
    """So are the coroutines that were waiting on it; their sockets would stay open."""
    here, there = socket.socketpair()

    async def wait() -> None:
        with here:
            await Ready((here,), 10 * PATIENCE)

    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        runs.Run(wait(), current_loop(), WorkerThreads())
        return weakref.ref(asyncio.get_running_loop())

    async def of_another() -> None:
        current_loop()

    with there:
        closed = asyncio.run(main())
        asyncio.run(of_another())
        for _ in range(3):  # PyPy finalizes what it finds, and then finds the rest
            gc.collect()
        assert closed() is None
        assert there.recv(1) == b""


@pytest.mark.parametrize("place", ["Readiness.unwatch", "creating"])
def test_a_signal_handler_that_raises_between_two_steps(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The coroutine goes on, or is closed: no reader waits for ever for what it does."""
    here, there = socket.socketpair()

    def fail(*_: object, **__: object) -> None:
        patched.undo()
        raise StopAsyncIteration("raised by a signal handler")

    async def wait(is_over: asyncio.Event) -> None:
        try:
            await Ready((here,), 10 * PATIENCE)
        finally:
            is_over.set()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        is_over = asyncio.Event()
        loop: Any = current_loop()
        run = runs.Run(wait(is_over), loop, WorkerThreads())  # noqa: F841 - kept, as by a creation
        if place == "creating":
            patched.setattr(runs, "creating", fail)
        else:
            patched.setattr(loop.readiness, "unwatch", fail)
        there.send(b"x")
        await asyncio.wait_for(is_over.wait(), PATIENCE)

    with here, there, monkeypatch.context() as patched:
        asyncio.run(main())
