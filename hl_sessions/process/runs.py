"""Coroutines that run on an event loop, asyncio's or trio's, and that threads can finish."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakKeyDictionary, ref

from hl_sessions.process.event_loop import is_trio_running
from hl_sessions.process.outcome import TASKS_PER_TURN
from hl_sessions.process.readiness import readiness
from hl_sessions.process.reentry import creating
from hl_sessions.process.saying import show
from hl_sessions.process.waits import Blocking, Steps, Wait

if TYPE_CHECKING:
    import socket
    from asyncio import AbstractEventLoop, Future, TimerHandle
    from collections.abc import Callable, Coroutine

    from hl_sessions.process.worker_threads import WorkerThreads

__all__ = ["EventLoop", "Run", "current_loop"]

Result = TypeVar("Result")

LONGEST_TURN = 0.001  # seconds of steps in which nothing else of an event loop runs
STEPS_BESIDE_TASKS = 4  # in a turn in which tasks begin, as their requests are answered last anyway
PAUSE = 0.0005  # seconds without a step, after which other code of the loop must have run


class EventLoop(Protocol):
    """An event loop."""

    async def turn(self) -> None:
        """Wait while too much has begun in this turn of the loop."""

    def begin(self, step: Callable[[], None]) -> None:
        """Take a first step, in the turn of this task."""

    def wait_for(self, wait: Wait[Any], resume: Callable[[], None]) -> Callable[[], None]:
        """Call ``resume`` when a wait is over; return a function that cancels this."""

    def is_gone(self) -> bool:
        """Whether the loop has stopped or ended."""


class Run:
    """A coroutine on the event loop of this thread.

    It runs in an empty context. If the task that began it is cancelled, it goes on.

    Args:
        coroutine: a coroutine that awaits only waits, and reports its outcome itself.
        loop: the result of :func:`current_loop`.
        workers: threads for blocking functions.
    """

    def __init__(
        self, coroutine: Coroutine[Wait[Any], Any, None], loop: EventLoop, workers: WorkerThreads
    ) -> None:
        self._steps = Steps(coroutine)
        self._loop = loop
        self._workers = workers
        self._thread = threading.get_ident()
        self._wait: Wait[Any] | None = None
        self._waits_since = 0.0
        #: The function that cancels the current wait. The thread that takes it out continues the coroutine.
        self._suspended: list[Callable[[], object]] = [_do_nothing]
        Context().run(loop.begin, self._resume)

    def is_orphaned(self) -> bool:
        """Whether its event loop has ended, or was stopped, before it."""
        return bool(self._suspended) and self._loop.is_gone()

    def is_of_this_thread(self) -> bool:
        """Whether it cannot go on while this thread blocks."""
        return bool(self._suspended) and self._thread == threading.get_ident()

    def finish(self) -> None:
        """Run the rest in this thread, unless it runs elsewhere."""
        if self._continue():
            wait, self._wait = self._wait, None
            if wait is not None and wait.seconds is not None:
                wait.seconds = max(0.0, wait.seconds - (time.monotonic() - self._waits_since))
            with creating():
                self._steps.finish(self._steps.next() if wait is None else wait)

    def cancel(self) -> None:
        """Close the coroutine at its current step."""
        if self._continue():
            self._steps.close()

    def _continue(self) -> bool:
        try:
            take_back = self._suspended.pop()
        except IndexError:
            return False
        take_back()
        return True

    def _resume(self) -> None:
        if not self._continue():
            return
        if isinstance(self._wait, Blocking) and self._wait.outcome is not None:
            self._steps.take(self._wait.outcome.get)
        try:
            with creating():
                wait = self._steps.next()
        except Exception as error:  # noqa: BLE001 - raised by a signal handler or a log handler
            show(error)
            self._steps.close()  # it may not have come to the coroutine, and readers would wait
            return
        if wait is None:
            return
        if isinstance(wait, Blocking):
            wait.outcome = self._workers.begin(partial(_marked, wait.function))
        self._wait, self._waits_since = wait, time.monotonic()
        try:
            self._suspended.append(self._loop.wait_for(wait, self._resume))
        except Exception:  # noqa: BLE001 - the loop is ending, or cannot wait for sockets after all
            self._suspended.append(_do_nothing)
            self._finish_in_thread()

    def _finish_in_thread(self) -> None:
        try:
            self._workers.submit(self.finish)
        except RuntimeError:  # no thread can be started
            self.finish()


def _marked(function: Callable[[], Result]) -> Result:
    with creating():
        return function()


def _do_nothing() -> None:
    """Cancel nothing."""


def current_loop() -> EventLoop | None:
    """Return the event loop of this task, ``None`` if it cannot wait for sockets."""
    if is_trio_running():
        return _Trio(_trio_turns())
    import asyncio

    loop = asyncio.get_running_loop()
    known = _loops.get(loop)
    if known is not None:
        return known
    # The proactor of Windows and the loop of Pyodide cannot wait for sockets.
    if sys.platform == "emscripten" or type(loop).add_reader is asyncio.AbstractEventLoop.add_reader:
        return None
    _forget_closed_loops()
    return _loops.setdefault(loop, _Asyncio(loop))


def _forget_closed_loops() -> None:
    # Their timers and waits refer to them, so they would stay, and with them the sockets of unfinished runs.
    for reference in _loops.keyrefs():
        loop = reference()
        if loop is not None and loop.is_closed():
            _loops.pop(loop, None)


class _Turn:
    """The time of steps during which no other code of an event loop ran."""

    def __init__(self) -> None:
        self._since = 0.0
        self._until = 0.0

    def begin(self) -> None:
        """Begin to count."""
        self._since = time.monotonic()

    def take(self, step: Callable[[], None]) -> None:
        """Take a step."""
        step()
        self._until = time.monotonic()

    def is_over(self) -> bool:
        """Whether the next step has to wait."""
        now = time.monotonic()
        if now - self._until > PAUSE:
            self._since = now
        return now - self._since > LONGEST_TURN


class _Asyncio:
    """An event loop of asyncio. It is not blocked: steps beyond one turn wait for the next turn."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._get_loop = ref(loop)
        self.readiness = readiness(loop)
        self._turn = _Turn()
        self._postponed: deque[Callable[[], None]] = deque()
        self._tasks: deque[Future[None]] = deque()
        # One timer for all waits, as most of them end long before their time.
        self._watches: dict[_Watch, float] = {}
        self._timer: TimerHandle | None = None

    async def turn(self) -> None:
        loop = self._get_loop()
        if loop is not None and (self._tasks or self._turn.is_over()):
            is_due: Future[None] = loop.create_future()
            self._ask_for_turn(loop)
            self._tasks.append(is_due)
            await is_due

    def begin(self, step: Callable[[], None]) -> None:
        self._turn.take(step)

    def go_on(self, step: Callable[[], None]) -> None:
        """Take a further step, in this turn of the loop or in a later one."""
        loop = self._get_loop()
        if loop is not None and (self._tasks or self._turn.is_over()):
            self._ask_for_turn(loop)
            self._postponed.append(step)
        else:
            self._turn.take(step)

    def _ask_for_turn(self, loop: AbstractEventLoop) -> None:
        if not self._postponed and not self._tasks:
            # In an empty context, as this may be a task of the application.
            loop.call_soon(self._begin_turn, context=Context())

    def _begin_turn(self) -> None:
        loop = self._get_loop()
        try:
            self._turn.begin()
            for _ in range(STEPS_BESIDE_TASKS if self._tasks else len(self._postponed)):
                if not self._postponed or self._turn.is_over():
                    break
                self._turn.take(self._postponed.popleft())
            for _ in range(min(len(self._tasks), TASKS_PER_TURN)):
                is_due = self._tasks.popleft()
                if not is_due.cancelled():
                    is_due.set_result(None)
        finally:  # also where a signal handler raises: the loop may go on
            if loop is not None and (self._postponed or self._tasks):
                loop.call_soon(self._begin_turn)

    def wait_for(self, wait: Wait[Any], resume: Callable[[], None]) -> Callable[[], None]:
        loop = self._get_loop()
        if loop is None:
            return _do_nothing
        watch = _Watch(self, loop, wait, resume)
        try:
            watch.begin()
        except BaseException:
            watch.end()  # or it would end a later wait for a socket with the same number
            raise
        return watch.end

    def add(self, watch: _Watch, seconds: float) -> None:
        """End a watch after so many seconds."""
        loop = self._get_loop()
        if loop is None:
            return
        end = self._watches[watch] = loop.time() + seconds
        if self._timer is None or end < self._timer.when():
            self._set_timer(loop, end)

    def discard(self, watch: _Watch) -> None:
        """Forget a watch that is over."""
        self._watches.pop(watch, None)

    def _set_timer(self, loop: AbstractEventLoop, end: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(end, self._look)

    def _look(self) -> None:
        loop, self._timer = self._get_loop(), None
        if loop is None:
            return
        now = loop.time()
        try:
            for watch in [watch for watch, end in self._watches.items() if end <= now]:
                watch.happened()
        finally:  # also where a signal handler raises: the loop may go on
            # A step may have set a timer for its own wait, which ends later than others.
            if self._watches:
                self._set_timer(loop, min(self._watches.values()))

    def is_gone(self) -> bool:
        loop = self._get_loop()
        return loop is None or not loop.is_running()


class _Watch:
    """Watches, on an event loop of asyncio, for the end of a wait."""

    __slots__ = ("_is_over", "_loop", "_outcome", "_owner", "_reading", "_resume", "_seconds", "_writing")

    def __init__(
        self, owner: _Asyncio, loop: AbstractEventLoop, wait: Wait[Any], resume: Callable[[], None]
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._resume = resume
        self._outcome = wait.outcome
        self._seconds = wait.seconds
        self._reading = [sock.fileno() for sock in wait.reading]
        self._writing = [sock.fileno() for sock in wait.writing]
        self._is_over = False

    def begin(self) -> None:
        if self._seconds is not None:
            self._owner.add(self, self._seconds)
        for descriptor in self._reading:
            self._owner.readiness.watch(descriptor, self.happened, writing=False)
        for descriptor in self._writing:
            self._owner.readiness.watch(descriptor, self.happened, writing=True)
        if self._outcome is not None:
            self._outcome.on_known(self._is_known)

    def end(self) -> None:
        if self._is_over or self._loop.is_closed():
            return
        self._owner.discard(self)
        for descriptor in self._reading:
            self._owner.readiness.unwatch(descriptor, writing=False)
        for descriptor in self._writing:
            self._owner.readiness.unwatch(descriptor, writing=True)
        self._is_over = True

    def happened(self) -> None:
        if not self._is_over:
            try:
                self.end()
            finally:  # also where a signal handler raises; this ends the rest of the watch, too
                self._owner.go_on(self._resume)

    def _is_known(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            # Not in the context of the setter: steps run, and later waits begin, in this one.
            self._loop.call_soon_threadsafe(self.happened, context=Context())


_loops: WeakKeyDictionary[AbstractEventLoop, _Asyncio] = WeakKeyDictionary()


class _TrioTurns:
    """The turns of the tasks in one run of trio."""

    def __init__(self, parking_lot: Any) -> None:
        self.turn = _Turn()
        self._parking_lot = parking_lot
        self._is_serving = False

    async def wait(self) -> None:
        """Wait for another turn, if this one is over."""
        import trio

        if self._is_serving or self.turn.is_over():
            if not self._is_serving:
                self._is_serving = True
                trio.lowlevel.spawn_system_task(self._serve, context=Context())
            await self._parking_lot.park()

    async def _serve(self) -> None:
        import trio

        try:
            while self._parking_lot:
                await trio.lowlevel.checkpoint()
                self.turn.begin()
                self._parking_lot.unpark(count=TASKS_PER_TURN)
        finally:
            self._is_serving = False


_turns_of_trio: WeakKeyDictionary[Any, _TrioTurns] = WeakKeyDictionary()


def _trio_turns() -> _TrioTurns:
    import trio

    token = trio.lowlevel.current_trio_token()
    return _turns_of_trio.get(token) or _turns_of_trio.setdefault(
        token, _TrioTurns(trio.lowlevel.ParkingLot())
    )


class _Trio:
    """A run of trio."""

    def __init__(self, turns: _TrioTurns) -> None:
        self._turns = turns
        self._is_gone = False

    async def turn(self) -> None:
        await self._turns.wait()

    def begin(self, step: Callable[[], None]) -> None:
        self._turns.turn.take(step)

    def wait_for(self, wait: Wait[Any], resume: Callable[[], None]) -> Callable[[], None]:
        import trio

        scope = trio.CancelScope()
        if wait.seconds is not None:
            scope.deadline = trio.current_time() + wait.seconds
        trio.lowlevel.spawn_system_task(self._wait, scope, wait, resume, context=Context())
        return partial(self._take_back, scope)

    def _take_back(self, scope: Any) -> None:
        if not self._is_gone:
            scope.cancel()

    async def _wait(self, scope: Any, wait: Wait[Any], resume: Callable[[], None]) -> None:
        try:
            with scope:
                if wait.outcome is None:
                    await _ready(wait)
                else:
                    await wait.outcome.wait_in_task()
            await self._turns.wait()
        except BaseException:  # the run of trio is cancelled, which may raise a group
            self._is_gone = True
            raise
        self.begin(resume)

    def is_gone(self) -> bool:
        return self._is_gone


async def _ready(wait: Wait[Any]) -> None:
    import trio

    async def wake_after(function: Callable[[socket.socket], Any], sock: socket.socket) -> None:
        await function(sock)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for sock in wait.reading:
            nursery.start_soon(wake_after, trio.lowlevel.wait_readable, sock)
        for sock in wait.writing:
            nursery.start_soon(wake_after, trio.lowlevel.wait_writable, sock)
