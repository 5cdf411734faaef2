"""Runs reads in separate lanes: each has a number of threads, a queue, and a time limit."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from hl_sessions.server.database.engines import for_reading, interrupt
from hl_sessions.server.database.errors import DatabaseBusyError, DatabaseTimeoutError, was_ended
from hl_sessions.server.database.retrying import retrying

BUDGET: Final = 10.0
"""Seconds that a read may take, including the wait for its turn."""

_PAUSE: Final = 0.02
"""Seconds between two interruptions of a read: one that arrives between two of its statements has no effect.
"""

Result = TypeVar("Result")


class Lane:
    """Runs reads of one kind on threads and connections of their own.

    Args:
        engine: The engine of the database.
        name: The name of the threads.
        width: The number of reads that run at a time.
        queue: The number of reads that may wait for their turn.
    """

    def __init__(self, engine: Engine, name: str, *, width: int, queue: int) -> None:
        # The database must know the limit as well, because this process may be frozen when it is reached.
        self._engine = for_reading(engine, BUDGET)
        self._threads = ThreadPoolExecutor(width, thread_name_prefix=f"hl-sessions-{name}")
        self._interrupters = ThreadPoolExecutor(width, thread_name_prefix=f"hl-sessions-{name}-end")
        self._most = width + queue
        self._reads: dict[Future[Any], _Read[Any]] = {}

    async def run(self, query: Callable[[Connection], Result]) -> Result:
        """Return the result of ``query``; when the caller is cancelled, its running statement is stopped.

        Raises:
            DatabaseBusyError: When too many reads wait already, or its turn does not come within the time
                limit.
            DatabaseTimeoutError: When it takes longer than the time limit.
        """
        if len(self._reads) >= self._most:
            raise DatabaseBusyError
        read = _Read(self._engine, query)
        running = self._threads.submit(read.run)
        self._reads[running] = read
        running.add_done_callback(self._reads.pop)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(running), BUDGET)
        except asyncio.TimeoutError:
            raise DatabaseBusyError if running.cancel() else DatabaseTimeoutError from None
        finally:
            if not running.cancel():
                self._end(running, read)

    def close(self) -> None:
        """Stop the running reads, and the threads."""
        for running, read in list(self._reads.items()):
            self._end(running, read)
        self._threads.shutdown(cancel_futures=True)
        self._interrupters.shutdown()

    def _end(self, running: "Future[Any]", read: "_Read[Any]") -> None:
        if not running.done():
            self._interrupters.submit(_interrupt_until_done, running, read)


class _Read(Generic[Result]):
    def __init__(self, engine: Engine, query: Callable[[Connection], Result]) -> None:
        self._engine = engine
        self._query = query
        self._lock = Lock()
        self._connection: Any = None

    def run(self) -> Result:
        return retrying(self._attempt)

    def interrupt(self) -> None:
        """Stop the running statement, if there is one."""
        with self._lock:
            if self._connection is not None:
                interrupt(self._engine, self._connection)

    def _attempt(self, _longest_wait: float) -> Result:
        with self._engine.connect() as connection, self._interruptible(connection):
            try:
                return self._query(connection)
            except DBAPIError as error:
                if was_ended(error):
                    raise DatabaseTimeoutError from None
                raise

    @contextmanager
    def _interruptible(self, connection: Connection) -> Iterator[None]:
        with self._lock:
            self._connection = connection.connection.driver_connection
        try:
            yield
        finally:
            # Waits for an interruption under way, which must not hit the next user of the connection.
            with self._lock:
                self._connection = None


def _interrupt_until_done(running: "Future[Any]", read: "_Read[Any]") -> None:
    while not running.done():
        read.interrupt()
        wait([running], timeout=_PAUSE)
