"""Blocking work beside an event loop, asyncio's or trio's.

Neither library is imported before the application has done so.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from hl_sessions.fork import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WorkerThreads", "is_event_loop_running", "wait_until_done"]

Result = TypeVar("Result")

MAX_WORKERS = 32


def _is_trio_running() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_task()


def is_event_loop_running() -> bool:
    """Whether a blocking call in this thread would hold up an event loop."""
    asyncio = sys.modules.get("asyncio")
    return _is_trio_running() or (asyncio is not None and asyncio._get_running_loop() is not None)


async def wait_until_done(future: Future[Any]) -> None:
    """Wait for ``future`` without blocking the event loop.

    The future goes on when the waiting task is cancelled: others may be waiting for it.
    """
    if not future.done():
        await (_wait_on_trio(future) if _is_trio_running() else _wait_on_asyncio(future))


async def _wait_on_asyncio(future: Future[Any]) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    def done(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
            loop.call_soon_threadsafe(wake)

    future.add_done_callback(done)
    await waiter


async def _wait_on_trio(future: Future[Any]) -> None:
    import trio

    token = trio.lowlevel.current_trio_token()
    event = trio.Event()

    def done(_: Future[Any]) -> None:
        with suppress(trio.RunFinishedError):  # nobody is waiting any more
            token.run_sync_soon(event.set)

    future.add_done_callback(done)
    await event.wait()


class WorkerThreads:
    """A few threads, started when first needed and anew in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._executor = None

    def submit(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Future[Result]:
        """Call ``function`` in one of the threads.

        Raises:
            RuntimeError: the interpreter is shutting down.
        """
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="hl-sessions")
            return self._executor.submit(function, *args, **kwargs)

    async def run(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Give the result of ``function``, called in one of the threads."""
        future = self.submit(function, *args, **kwargs)
        await wait_until_done(future)
        return future.result()

    def close(self) -> None:
        """Let the threads end after what they are doing; a later call starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)
