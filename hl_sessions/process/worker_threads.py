"""Threads for blocking work, which an event loop must not do."""

from __future__ import annotations

import functools
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from hl_sessions.errors import APIConnectionError
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.outcome import Outcome, popped
from hl_sessions.process.threads import no_threads

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_WORKERS", "WorkerThreads"]

Result = TypeVar("Result")

MAX_WORKERS = 32


class WorkerThreads:
    """A pool of threads, started when it is first needed, and anew in a forked child."""

    def __init__(self) -> None:
        self._is_retired = False
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._work: deque[Callable[[], object]] = deque()
        self._workers = 0  # threads that work

    def submit(self, function: Callable[..., object], *args: Any) -> None:
        """Call ``function``, which must not raise, in one of the threads.

        Raises:
            RuntimeError: no thread can be started, such as when the interpreter is shutting down.
        """
        work = functools.partial(function, *args)
        if sys.platform == "emscripten":  # Pyodide has no threads, and can wait here
            _do(work)
            return
        self._work.append(work)
        try:
            self._add_worker()
        except RuntimeError as error:
            with suppress(ValueError):  # a worker has taken it
                self._work.remove(work)
                no_threads.note(error)
                raise

    async def run(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Return the result of ``function``, called in one of the threads.

        Raises:
            APIConnectionError: no thread can be started.
        """
        outcome = self.begin(functools.partial(function, *args, **kwargs))
        await outcome.wait_in_task()
        return outcome.get()

    def begin(self, function: Callable[[], Result]) -> Outcome[Result]:
        """Call ``function`` in one of the threads, and return its future outcome.

        If no thread can be started, the outcome is an ``APIConnectionError``.
        """
        outcome: Outcome[Result] = Outcome()
        try:
            self.submit(_call, outcome, function)
        except RuntimeError as error:  # the interpreter is shutting down, or has no threads
            failure = APIConnectionError(f"no thread can be started: {error}")
            failure._is_of_process = True
            outcome.set_error(failure)
        return outcome

    def close(self) -> None:
        """Let the threads end after their current work; a later call starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    def retire(self) -> None:
        """Close the pool, and let threads of later calls end as soon as they have no work."""
        self._is_retired = True
        self.close()

    def _add_worker(self) -> None:
        with self._lock:
            # Submitting to an executor takes longer than all other steps, so it is done only if it helps.
            if self._workers >= MAX_WORKERS:
                return
            if self._executor is None:
                self._executor = ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="hl-sessions")
            try:
                # In an empty context: if threads inherit one, a worker would keep that of the first caller.
                Context().run(self._executor.submit, self._work_off)
            except RuntimeError:
                # The executor has kept the work for which it could start no thread.
                self._executor.shutdown(wait=False, cancel_futures=True)
                self._executor = None
                if self._workers == 0:
                    raise
            else:
                self._workers += 1

    def _work_off(self) -> None:
        while True:
            while (work := popped(self._work)) is not None:
                _do(work)
            with self._lock:
                if not self._work:
                    self._workers -= 1
                    break
        if self._is_retired:
            self.close()


def _do(work: Callable[[], object]) -> None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - reported like that of any thread
        arguments = type(error), error, error.__traceback__, threading.current_thread()
        threading.excepthook(threading.ExceptHookArgs(arguments))


def _call(outcome: Outcome[Result], function: Callable[[], Result]) -> None:
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001 - passed to the caller
        outcome.set_error(error)
    else:
        outcome.set(result)
