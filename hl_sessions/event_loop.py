"""Blocking work beside an event loop, asyncio's or trio's.

Neither library is imported before the application has done so.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hl_sessions.fork import renew_after_fork

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from asyncio import Future as AsyncioFuture
    from collections.abc import Callable

    _Task = tuple[AbstractEventLoop, AsyncioFuture[None]]

__all__ = ["Outcome", "WorkerThreads", "is_event_loop_running"]

Result = TypeVar("Result")
Item = TypeVar("Item")

MAX_WORKERS = 32
TASKS_PER_TURN = 16


def _is_trio_running() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_task()


def is_event_loop_running() -> bool:
    """Whether a blocking call in this thread would hold up an event loop."""
    asyncio = sys.modules.get("asyncio")
    return _is_trio_running() or (asyncio is not None and asyncio._get_running_loop() is not None)


class Outcome(Generic[Result]):
    """What becomes of something that is done once; threads and tasks wait for it.

    A leaner ``concurrent.futures.Future``: hundreds of tasks may begin to wait in one turn of an event loop.
    """

    __slots__ = ("_error", "_result", "_tasks", "_wakers", "is_known")

    _result: Result
    _error: BaseException | None

    def __init__(self) -> None:
        self.is_known = False
        self._wakers: deque[Callable[[], object]] = deque()
        self._tasks: deque[_Task] = deque()

    def set(self, result: Result) -> None:
        """Say that it gave ``result``."""
        self._result, self._error = result, None
        self._become_known()

    def set_error(self, error: BaseException) -> None:
        """Say that it raised ``error``."""
        self._error = error
        self._become_known()

    def get(self) -> Result:
        """Give the result that is known, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._result

    @property
    def error(self) -> BaseException | None:
        """The error that is known, ``None`` where there is a result."""
        return self._error

    def wait(self, seconds: float) -> bool:
        """Return when it is known, or after so many seconds; whether it is."""
        if not self.is_known:
            signal = threading.Lock()
            signal.acquire()
            self._wakers.append(signal.release)
            self._wake_if_known()
            signal.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
        return self.is_known

    async def wait_in_task(self) -> None:
        """Return when it is known, while the event loop keeps running.

        What is waited for goes on when the task is cancelled.
        """
        if self.is_known:
            return
        if _is_trio_running():
            import trio

            event = trio.Event()
            self._wakers.append(
                functools.partial(_wake_on_trio, trio.lowlevel.current_trio_token(), event.set)
            )
            self._wake_if_known()
            await event.wait()
        else:
            import asyncio

            loop = asyncio.get_running_loop()
            woken = loop.create_future()
            self._tasks.append((loop, woken))
            self._wake_if_known()
            await woken

    def _become_known(self) -> None:
        self.is_known = True
        self._wake_if_known()

    def _wake_if_known(self) -> None:
        # Who comes to wait is noted before this looks, so nobody is overlooked; and nobody is woken twice.
        if not self.is_known:
            return
        # The event loop first: once threads are awake it has to wait for its turn among them.
        tasks: dict[AbstractEventLoop, list[AsyncioFuture[None]]] = {}
        while (task := _popped(self._tasks)) is not None:
            tasks.setdefault(task[0], []).append(task[1])
        for loop, woken in tasks.items():
            with suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
                loop.call_soon_threadsafe(_wake_on_asyncio, loop, woken)
        while (waker := _popped(self._wakers)) is not None:
            waker()


def _popped(waiting: deque[Item]) -> Item | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _wake_on_trio(token: Any, wake: Callable[[], object]) -> None:
    import trio

    with suppress(trio.RunFinishedError):  # nobody is waiting any more
        token.run_sync_soon(wake)


def _wake_on_asyncio(loop: AbstractEventLoop, woken: list[AsyncioFuture[None]]) -> None:
    """Wake tasks, not too many in one turn of the loop, in which nothing else would run."""
    for future in woken[:TASKS_PER_TURN]:
        if not future.done():
            future.set_result(None)
    if len(woken) > TASKS_PER_TURN:
        loop.call_soon(_wake_on_asyncio, loop, woken[TASKS_PER_TURN:])


class WorkerThreads:
    """A few threads, started when first needed and anew in a forked child."""

    def __init__(self) -> None:
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._work: deque[Callable[[], object]] = deque()
        self._workers = 0  # that are at it

    def submit(self, function: Callable[..., object], *args: Any) -> None:
        """Call ``function``, which does not raise, in one of the threads.

        Raises:
            RuntimeError: the interpreter is shutting down.
        """
        work = functools.partial(function, *args)
        self._work.append(work)
        try:
            self._add_worker()
        except RuntimeError:
            with suppress(ValueError):  # a worker has taken it
                self._work.remove(work)
                raise

    async def run(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Give the result of ``function``, called in one of the threads."""
        outcome: Outcome[Result] = Outcome()
        self.submit(_call, outcome, functools.partial(function, *args, **kwargs))
        await outcome.wait_in_task()
        return outcome.get()

    def close(self) -> None:
        """Let the threads end after what they are doing; a later call starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    def _add_worker(self) -> None:
        with self._lock:
            # Giving an executor something to do takes longer than all the rest: not more often than it helps.
            if self._workers >= MAX_WORKERS:
                return
            if self._executor is None:
                self._executor = ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="hl-sessions")
            self._executor.submit(self._work_off)
            self._workers += 1

    def _work_off(self) -> None:
        while True:
            while (work := _popped(self._work)) is not None:
                _do(work)
            with self._lock:
                if not self._work:
                    self._workers -= 1
                    return


def _do(work: Callable[[], object]) -> None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - said where any thread says it
        arguments = type(error), error, error.__traceback__, threading.current_thread()
        threading.excepthook(threading.ExceptHookArgs(arguments))


def _call(outcome: Outcome[Result], function: Callable[[], Result]) -> None:
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001 - the caller is told
        outcome.set_error(error)
    else:
        outcome.set(result)
