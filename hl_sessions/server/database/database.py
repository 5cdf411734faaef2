"""The database for the routes: reads in parallel, writes in groups."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from threading import Event
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine

from hl_sessions.server.database.engines import READERS, SCANNERS, for_reading, for_writing, open_engine
from hl_sessions.server.database.errors import DatabaseError, ReplacedFileError
from hl_sessions.server.database.group_commit import DatabaseObserver, GroupCommit, durable_transaction
from hl_sessions.server.database.lanes import Lane
from hl_sessions.server.database.migrating import upgrade
from hl_sessions.server.database.rarely import Rarely
from hl_sessions.server.database.retrying import retrying

_WAITING_READS: Final = 256
WAITING_SCANS: Final = 32
"""The number of searches and lists that may wait for their turn, beside those that run."""

_logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Argument = TypeVar("Argument")


class Database:
    """Runs functions in transactions on threads of its own, so that no event loop waits for the disk.

    Their exceptions are raised to the caller. So are ``DatabaseUnavailableError`` and ``DatabaseBusyError``,
    by reads ``DatabaseTimeoutError``, and by writes ``DatabaseFullError`` and ``ReplacedFileError``. Only one
    event loop may use it.

    Args:
        engine: The engine of a database that has the tables.
        observer: Told of the work for requests, which is that of the coroutine methods.
    """

    def __init__(self, engine: Engine, observer: DatabaseObserver | None = None) -> None:
        self._engine = engine
        self._engine_for_reading = for_reading(engine)
        self._readers = Lane(engine, "reader", width=READERS, queue=_WAITING_READS)
        self._scanners = Lane(engine, "scanner", width=SCANNERS, queue=WAITING_SCANS)
        self._prompt_reader = Lane(engine, "prompt-reader", width=1, queue=_WAITING_READS)
        self._engine_for_writing = for_writing(engine)
        self._observer = observer
        self._replaced = Rarely()
        self._ending = Event()
        self._writes = GroupCommit(self._engine_for_writing, observer)

    @classmethod
    def open(cls, url: URL, observer: DatabaseObserver | None = None) -> "Database":
        """Open the database, and bring its tables up to date.

        Raises:
            sqlalchemy.exc.DBAPIError: When it cannot be opened, or is no database.
            DatabaseVersionError: When a newer version of the program has used it.
        """
        engine = open_engine(url)
        try:
            upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, observer)

    async def read(self, query: Callable[[Connection], Result]) -> Result:
        """Return the result of ``query``, whose statements all see the same state.

        It is for single records: its time must not depend on how many there are. It is stopped when the
        caller is cancelled.
        """
        return await self._observed(self._readers.run(query))

    async def scan(self, query: Callable[[Connection], Result]) -> Result:
        """Like ``read``, for a query that takes longer the more records there are, such as a search."""
        return await self._observed(self._scanners.run(query))

    async def read_promptly(self, query: Callable[[Connection], Result]) -> Result:
        """Like ``read``, for a small query of the server itself, which does not wait behind requests."""
        return await self._observed(self._prompt_reader.run(query))

    async def write(self, change: Callable[[Connection], Result | Exception]) -> Result:
        """Return the result of ``change`` once its changes are durable; if it raises, nothing is changed.

        It may be called again after its changes were undone. To refuse a request it returns an exception
        before it has changed anything. The exception is raised here, and costs other requests nothing.
        """
        result: Result = await self._observed(self._writes.make(_one_by_one, change))
        return result

    async def write_together(
        self,
        changes: Callable[[Connection, Sequence[Argument]], Sequence[Result | Exception]],
        argument: Argument,
        size: int = 1,
    ) -> Result:
        """Like ``write``, with one call for the arguments of all waiting requests.

        Args:
            changes: Returns a result or an exception for each argument. An exception is raised to the caller
                who gave the argument, and must leave none of its changes behind.
            argument: The argument of this request.
            size: The number of its records, of which only so many share a transaction.
        """
        result: Result = await self._observed(self._writes.make(changes, argument, size))
        return result

    def read_now(self, query: Callable[[Connection], Result]) -> Result:
        """Like ``read``, on the calling thread and without a time limit: for commands, and at the start."""

        def attempt(_longest_wait: float) -> Result:
            with self._engine_for_reading.connect() as connection:
                return query(connection)

        return retrying(attempt, ending=self._ending)

    def write_now(self, change: Callable[[Connection], Result]) -> Result:
        """Like ``write``, on the calling thread."""

        def attempt(longest_wait: float) -> Result:
            with durable_transaction(self._engine_for_writing, longest_wait) as connection:
                return change(connection)

        return retrying(attempt, ending=self._ending)

    def begin_to_close(self) -> None:
        """Have ``read_now`` and ``write_now`` no longer wait for a locked or unreachable database."""
        self._ending.set()

    def close(self) -> None:
        """Wait for the transactions that write, stop those that read, and close the connections."""
        self._writes.close()
        for lane in (self._prompt_reader, self._scanners, self._readers):
            lane.close()
        self._engine.dispose()

    async def _observed(self, doing: Awaitable[Result]) -> Result:
        try:
            return await doing
        except DatabaseError as error:
            if self._observer is not None:
                self._observer.failed(error)
            if isinstance(error, ReplacedFileError) and self._replaced.is_time():
                _logger.warning("requests are refused: %s", error)
            raise


def _one_by_one(connection: Connection, changes: Sequence[Callable[[Connection], Any]]) -> list[Any]:
    return [change(connection) for change in changes]
