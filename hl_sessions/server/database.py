"""The database as the routes see it: reads side by side, writes one after the other."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from sqlalchemy import URL, Connection, Engine

from hl_sessions.server.sqlite import create_sqlite_engine, for_writing
from hl_sessions.server.tables import metadata

_READERS: Final = 4

Result = TypeVar("Result")


class Database:
    """Runs functions in transactions, on threads of its own, so that no event loop waits for the disk.

    Args:
        engine: The engine of a database that has the tables.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._engine_for_writing = for_writing(engine)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="hl-sessions-reader")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="hl-sessions-writer")

    @classmethod
    def open(cls, url: URL) -> "Database":
        """Open the database, and make the tables that it lacks.

        Raises:
            sqlalchemy.exc.DBAPIError: When the file cannot be opened, or is no database.
        """
        engine = create_sqlite_engine(url)
        try:
            # The lock keeps a second server that starts on the same file from making the same tables.
            with for_writing(engine).begin() as connection:
                metadata.create_all(connection)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    async def read(self, query: Callable[[Connection], Result]) -> Result:
        """Answer what ``query`` returns; all its statements see the same state."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, query)

    async def write(self, change: Callable[[Connection], Result]) -> Result:
        """Answer what ``change`` returns once its changes are durable; when it raises, there are none."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self.write_now, change)

    def read_now(self, query: Callable[[Connection], Result]) -> Result:
        """Do the same as ``read`` on the calling thread: for commands, and before the server runs."""
        with self._engine.connect() as connection:
            return query(connection)

    def write_now(self, change: Callable[[Connection], Result]) -> Result:
        """Do the same as ``write`` on the calling thread."""
        with self._engine_for_writing.begin() as connection:
            return change(connection)

    def close(self) -> None:
        """Wait for the transactions that run, and close the connections."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()
