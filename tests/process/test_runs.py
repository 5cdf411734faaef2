"""Coroutines that event loops run, and that threads finish."""

import asyncio
import gc
import select
import socket
import weakref
from contextvars import ContextVar
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


def test_tasks_wait_for_a_turn_behind_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it is since the last step: what else the event loop has to do comes first."""
    clock = StillClock()
    monkeypatch.setattr(runs, "time", clock)
    seen: list[str] = []

    def take(seconds: float) -> None:
        clock.offset += seconds

    async def read(name: str) -> None:
        await current_loop().turn()
        seen.append(name)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        current_loop().begin(lambda: take(2 * runs.LONGEST_TURN))
        first = asyncio.create_task(read("first"))
        loop.call_soon(take, 2 * runs.PAUSE)
        second = asyncio.create_task(read("second"))
        loop.call_soon(seen.append, "something else")
        await asyncio.gather(first, second)

    asyncio.run(main())
    assert seen == ["something else", "first", "second"]


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


def test_steps_run_in_an_empty_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the wait is ended in a session, and so the loop begins there to wait for time and sockets."""
    monkeypatch.setattr(runs, "PAUSE", 0.0)  # no step waits for another turn of the loop
    session: ContextVar[str] = ContextVar("session", default="none")
    seen: list[str] = []
    here, there = socket.socketpair()

    async def begin(known: Outcome[None], has_waited: asyncio.Event, is_over: asyncio.Event) -> None:
        await Known(known, PATIENCE)
        await Ready((here,), 0)
        seen.append(session.get())
        has_waited.set()
        await Ready((here,), PATIENCE)
        seen.append(session.get())
        is_over.set()

    async def wait_beside(is_over: asyncio.Event) -> None:
        await Ready((there,), PATIENCE)
        seen.append(session.get())
        is_over.set()

    async def main() -> None:
        known: Outcome[None] = Outcome()
        has_waited, first, second = asyncio.Event(), asyncio.Event(), asyncio.Event()
        runs.Run(begin(known, has_waited, first), current_loop(), workers)
        session.set("that of the setter")
        known.set(None)
        await asyncio.wait_for(has_waited.wait(), PATIENCE)
        there.send(b"x")
        await asyncio.wait_for(first.wait(), PATIENCE)
        runs.Run(wait_beside(second), current_loop(), workers)
        here.send(b"x")
        await asyncio.wait_for(second.wait(), PATIENCE)

    workers = WorkerThreads()
    with here, there:
        asyncio.run(main())
    assert seen == ["none"] * 3


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
