"""One result, for which threads and tasks of asyncio and trio can wait."""

from __future__ import annotations

import functools
import math
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hl_sessions.process.event_loop import is_running_here, is_trio_running

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from asyncio import Future as AsyncioFuture
    from collections import deque
    from collections.abc import Callable

    _Task = tuple[AbstractEventLoop, AsyncioFuture[None]]

__all__ = ["TASKS_PER_TURN", "Outcome", "popped"]

Result = TypeVar("Result")
Item = TypeVar("Item")

TASKS_PER_TURN = 16  # tasks that are woken in one turn, as each takes about a tenth of a millisecond


class Outcome(Generic[Result]):
    """The result or error of one piece of work, for which threads and tasks can wait.

    A leaner ``concurrent.futures.Future``: hundreds of tasks may begin to wait in one turn of an event loop.
    """

    __slots__ = ("_error", "_result", "_tasks", "_wakers", "is_known")

    _result: Result
    _error: BaseException | None

    def __init__(self) -> None:
        self.is_known = False
        # Lists, as a deque takes ten times their memory, and most have one waiter.
        self._wakers: list[Callable[[], object]] = []
        self._tasks: list[_Task] = []

    def set(self, result: Result) -> None:
        """Set the result, and wake the waiters."""
        self._result, self._error = result, None
        self._become_known()

    def set_error(self, error: BaseException) -> None:
        """Set the error, and wake the waiters."""
        self._error = error
        self._become_known()

    def get(self) -> Result:
        """Return the known result, or raise the known error."""
        if self._error is not None:
            raise self._error
        return self._result

    @property
    def error(self) -> BaseException | None:
        """The known error, ``None`` if there is a result."""
        return self._error

    def wait(self, seconds: float) -> bool:
        """Wait until it is known, at most ``seconds``; return whether it is."""
        if not self.is_known:
            signal = threading.Lock()
            signal.acquire()
            self._wakers.append(signal.release)
            self._wake_if_known()
            signal.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
        return self.is_known

    def on_known(self, function: Callable[[], object]) -> None:
        """Call ``function`` when it becomes known, in the thread that sets it; at once if it is known."""
        self._wakers.append(function)
        self._wake_if_known()

    async def wait_in_task(self, seconds: float | None = None) -> None:
        """Wait until it is known, at most ``seconds``, while the event loop keeps running.

        If the task is cancelled, the work goes on.
        """
        if self.is_known:
            return
        if is_trio_running():
            import trio

            event = trio.Event()
            self._wakers.append(
                functools.partial(_wake_on_trio, trio.lowlevel.current_trio_token(), event.set)
            )
            self._wake_if_known()
            with trio.move_on_after(math.inf if seconds is None else seconds):
                await event.wait()
        else:
            import asyncio

            loop = asyncio.get_running_loop()
            woken = loop.create_future()
            self._tasks.append((loop, woken))
            self._wake_if_known()
            timer = None if seconds is None else loop.call_later(seconds, _wake_on_asyncio, loop, [woken])
            try:
                await woken
            finally:
                if timer is not None:
                    timer.cancel()

    def _become_known(self) -> None:
        self.is_known = True
        self._wake_if_known()

    def _wake_if_known(self) -> None:
        # Waiters are added before this check, so none is missed; and none is woken twice.
        if not self.is_known:
            return
        # The event loop first, as it would have to compete with threads that are awake.
        if self._tasks:
            self._wake_tasks()
        while (waker := _first(self._wakers)) is not None:
            waker()

    def _wake_tasks(self) -> None:
        tasks: dict[AbstractEventLoop, list[AsyncioFuture[None]]] = {}
        while (task := _first(self._tasks)) is not None:
            tasks.setdefault(task[0], []).append(task[1])
        for loop, woken in tasks.items():
            if is_running_here(loop):
                _wake_on_asyncio(loop, woken)
                continue
            with suppress(RuntimeError):  # the loop is closed: no task waits any more
                loop.call_soon_threadsafe(_wake_on_asyncio, loop, woken)


def popped(waiting: deque[Item]) -> Item | None:
    """Remove and return the first item, ``None`` if there is none, or another thread was faster."""
    try:
        return waiting.popleft() if waiting else None
    except IndexError:
        return None


def _first(waiting: list[Item]) -> Item | None:
    """Remove and return the first item like :func:`popped`."""
    try:
        return waiting.pop(0) if waiting else None
    except IndexError:
        return None


def _wake_on_trio(token: Any, wake: Callable[[], object]) -> None:
    import trio

    with suppress(trio.RunFinishedError):  # no task waits any more
        token.run_sync_soon(wake)


def _wake_on_asyncio(loop: AbstractEventLoop, woken: list[AsyncioFuture[None]]) -> None:
    """Wake tasks, a limited number in one turn of the loop, as no other code runs in it."""
    for future in woken[:TASKS_PER_TURN]:
        if not future.done():
            future.set_result(None)
    if len(woken) > TASKS_PER_TURN:
        loop.call_soon(_wake_on_asyncio, loop, woken[TASKS_PER_TURN:])
