"""Changes of waiting requests share one transaction, and so one wait for the disk."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from hl_sessions.server.database.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    UnexpectedDatabaseError,
    is_full,
    is_passing,
)
from hl_sessions.server.database.retrying import retrying

_LARGEST_GROUP: Final = 256

Result = TypeVar("Result")
Changes: TypeAlias = Callable[[Connection, Sequence[Any]], Sequence[Any]]
"""Makes a change for each argument, in one go. An exception among the results refuses that argument alone."""


class DatabaseObserver(Protocol):
    """Is told what a database has done, on whatever thread; what it does then takes no time to speak of."""

    def committed(self, writes: int) -> None:
        """Note a transaction that holds the writes of so many requests."""

    def failed(self, error: DatabaseError) -> None:
        """Note a read or a write of one request that the database did not do."""


@dataclass(frozen=True)
class _Waiting:
    changes: Changes
    argument: Any
    future: asyncio.Future[Any]

    def make_alone(self, connection: Connection) -> Any:
        [outcome] = self.changes(connection, [self.argument])
        return outcome


class GroupCommit:
    """Takes changes from one event loop, and makes those that have come in meanwhile in one transaction.

    Args:
        engine: Where to make them.
        observer: Is told how many of them each transaction held.
    """

    def __init__(self, engine: Engine, observer: DatabaseObserver | None = None) -> None:
        self._engine = engine
        self._observer = observer
        self._is_running = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hl-sessions-writer")
        self._waiting: list[_Waiting] = []

    async def make(self, changes: Changes, argument: Any) -> Any:
        """Answer the result for this argument once it is durable.

        Args:
            changes: May be called again for the same argument, after what it did before was undone.
            argument: What to call it with, together with the arguments of other requests.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append(_Waiting(changes, argument, future))
        if len(self._waiting) == 1:
            # Not at once: other requests that have arrived with this one are about to come by.
            loop.call_soon(self._start, loop)
        return await future

    def close(self) -> None:
        """Wait for the transaction that runs."""
        self._thread.shutdown()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._is_running:
            self._is_running = True
            group, self._waiting = self._waiting[:_LARGEST_GROUP], self._waiting[_LARGEST_GROUP:]
            self._thread.submit(self._run, loop, group)

    def _run(self, loop: asyncio.AbstractEventLoop, group: list[_Waiting]) -> None:
        # Changes of one kind go together; among requests that all wait, no order is promised.
        group.sort(key=lambda waiting: id(waiting.changes))
        outcomes: Sequence[Any]
        try:
            outcomes = retrying(lambda: self._commit(group))
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            outcomes = [error] * len(group)
        else:
            if self._observer is not None:
                self._observer.committed(len(group))
        # One wake-up for all of them.
        loop.call_soon_threadsafe(self._finish, loop, group, outcomes)

    def _finish(
        self, loop: asyncio.AbstractEventLoop, group: Sequence[_Waiting], outcomes: Sequence[Any]
    ) -> None:
        for waiting, outcome in zip(group, outcomes, strict=True):
            if waiting.future.done():
                continue  # who waited has gone
            if isinstance(outcome, Exception):
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome)
        self._is_running = False
        self._start(loop)

    def _commit(self, group: Sequence[_Waiting]) -> list[Any]:
        try:
            with durable_transaction(self._engine) as connection:
                return list(_make_together(connection, group))
        except Exception as error:
            if _concerns_all(error):
                raise
        # One of them spoiled it for all. Again then, each so that it can be undone alone.
        with durable_transaction(self._engine) as connection:
            return [_make_alone(connection, waiting.make_alone) for waiting in group]


@contextmanager
def durable_transaction(engine: Engine) -> Iterator[Connection]:
    """Commit what is done in the ``with`` block.

    Raises:
        DatabaseUnavailableError: When nobody can tell whether it was committed: to do it again could be to do
            it twice.
    """
    with engine.connect() as connection, connection.begin() as transaction:
        yield connection
        try:
            transaction.commit()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise DatabaseUnavailableError from None
            raise


def _make_together(connection: Connection, group: Sequence[_Waiting]) -> Iterator[Any]:
    for changes, waiting in groupby(group, attrgetter("changes")):
        yield from changes(connection, [one.argument for one in waiting])


def _make_alone(connection: Connection, change: Callable[[Connection], Result]) -> Result | Exception:
    try:
        with connection.begin_nested():
            return change(connection)
    except Exception as error:
        if _concerns_all(error):
            raise
        return UnexpectedDatabaseError(error) if isinstance(error, DBAPIError) else error


def _concerns_all(error: Exception) -> bool:
    return isinstance(error, DatabaseUnavailableError) or (
        isinstance(error, DBAPIError) and (is_full(error) or is_passing(error))
    )
