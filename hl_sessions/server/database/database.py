"""The database as the routes see it: reads side by side, writes in groups."""

from collections.abc import Awaitable, Callable, Sequence
from threading import Event
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine

from hl_sessions.server.database.engines import READERS, SCANNERS, for_reading, for_writing, open_engine
from hl_sessions.server.database.errors import DatabaseError
from hl_sessions.server.database.group_commit import DatabaseObserver, GroupCommit, durable_transaction
from hl_sessions.server.database.lanes import Lane
from hl_sessions.server.database.migrating import upgrade
from hl_sessions.server.database.retrying import retrying

_WAITING_READS: Final = 256
WAITING_SCANS: Final = 32
"""How many searches and lists may wait for their turn, beside those that run."""

Result = TypeVar("Result")
Argument = TypeVar("Argument")


class Database:
    """Runs functions in transactions, on threads of its own, so that no event loop waits for the disk.

    What they raise is raised to who asked for them. So are ``DatabaseUnavailableError`` and
    ``DatabaseBusyError``; by those that read, ``DatabaseTimeoutError``; and by those that write,
    ``DatabaseFullError``. One event loop may use it.

    Args:
        engine: The engine of a database that has the tables.
        observer: Is told what is done for requests, that is by the methods that are coroutines.
    """

    def __init__(self, engine: Engine, observer: DatabaseObserver | None = None) -> None:
        self._engine = engine
        self._engine_for_reading = for_reading(engine)
        self._readers = Lane(engine, "reader", width=READERS, queue=_WAITING_READS)
        self._scanners = Lane(engine, "scanner", width=SCANNERS, queue=WAITING_SCANS)
        self._prompt_reader = Lane(engine, "prompt-reader", width=1, queue=_WAITING_READS)
        self._engine_for_writing = for_writing(engine)
        self._observer = observer
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
        """Answer what ``query`` returns; all its statements see the same state.

        It is about single records, so it takes as long however many there are. When the caller is cancelled,
        it ends.
        """
        return await self._observed(self._readers.run(query))

    async def scan(self, query: Callable[[Connection], Result]) -> Result:
        """Do the same with a query that takes the longer the more there is, such as a search."""
        return await self._observed(self._scanners.run(query))

    async def read_promptly(self, query: Callable[[Connection], Result]) -> Result:
        """Do the same with a small query of the server itself, which waits for no request."""
        return await self._observed(self._prompt_reader.run(query))

    async def write(self, change: Callable[[Connection], Result | Exception]) -> Result:
        """Answer what ``change`` returns once its changes are durable; when it raises, there are none.

        It may be called again, after what it did before was undone. To refuse, it returns an exception before
        it has changed anything: that is raised here, and costs other requests nothing.
        """
        result: Result = await self._observed(self._writes.make(_one_by_one, change))
        return result

    async def write_together(
        self,
        changes: Callable[[Connection, Sequence[Argument]], Sequence[Result | Exception]],
        argument: Argument,
        size: int = 1,
    ) -> Result:
        """Do the same with the arguments of all requests that wait, by one call.

        Args:
            changes: Answers a result for each argument, or an exception, which is raised to the one who
                gave the argument, and after which nothing of it may be left.
            argument: One of them.
            size: How many records it is about. No more than so many share a transaction.
        """
        result: Result = await self._observed(self._writes.make(changes, argument, size))
        return result

    def read_now(self, query: Callable[[Connection], Result]) -> Result:
        """Do the same on the calling thread, without a time limit: for commands, and at the start."""

        def attempt(_longest_wait: float) -> Result:
            with self._engine_for_reading.connect() as connection:
                return query(connection)

        return retrying(attempt, ending=self._ending)

    def write_now(self, change: Callable[[Connection], Result]) -> Result:
        """Do the same as ``write`` on the calling thread."""

        def attempt(longest_wait: float) -> Result:
            with durable_transaction(self._engine_for_writing, longest_wait) as connection:
                return change(connection)

        return retrying(attempt, ending=self._ending)

    def begin_to_close(self) -> None:
        """Let ``read_now`` and ``write_now`` wait no longer for a database that is locked or away."""
        self._ending.set()

    def close(self) -> None:
        """Wait for the transactions that write, end those that read, and close the connections."""
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
            raise


def _one_by_one(connection: Connection, changes: Sequence[Callable[[Connection], Any]]) -> list[Any]:
    return [change(connection) for change in changes]
