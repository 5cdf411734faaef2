"""Makes changes of the same kind, by waiting requests, in one transaction, with one wait for the disk."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from hl_sessions.server.database import retrying
from hl_sessions.server.database.errors import (
    ConflictError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseUnavailableError,
    ReplacedFileError,
    UnexpectedDatabaseError,
    UnknownOutcomeError,
    is_full,
    is_passing,
)

_LARGEST_GROUP: Final = 1000
"""The number of records that share a transaction, unless a single request has more: other requests wait for
it.
"""

_TURNS: Final = 4
"""The number of turns of the event loop in which a group is gathered.  Requests that have arrived need some
turns until they get here. A single request loses microseconds. Of many, all join the group instead of half of
them.
"""

MOST_WAITING: Final = 4096
"""The number of changes that may wait for their turn; the next one is refused at once."""

Result = TypeVar("Result")
Changes: TypeAlias = Callable[[Connection, Sequence[Any]], Sequence[Any]]
"""Makes the changes for several arguments together. An exception among the results refuses only that
argument.
"""


class DatabaseObserver(Protocol):
    """Told on any thread what a database has done; it must return quickly."""

    def committed(self, writes: int) -> None:
        """Note a transaction with the writes of this number of requests."""

    def failed(self, error: DatabaseError) -> None:
        """Note that a read or a write for a request has failed."""


@dataclass(eq=False, slots=True)
class _Waiting:
    changes: Changes
    argument: Any
    future: asyncio.Future[Any]
    deadline: float
    size: int

    def make_alone(self, connection: Connection) -> Any:
        [outcome] = self.changes(connection, [self.argument])
        return outcome


class GroupCommit:
    """Takes changes from one event loop, and makes waiting changes of the same kind together.

    Each change waits for the database as long as it would alone, regardless of the others in its group.

    Args:
        engine: The engine for writing.
        observer: Told how many changes each transaction held.
    """

    def __init__(self, engine: Engine, observer: DatabaseObserver | None = None) -> None:
        self._engine = engine
        self._observer = observer
        self._is_running = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hl-sessions-writer")
        # In the order of arrival.
        self._waiting: list[_Waiting] = []

    async def make(self, changes: Changes, argument: Any, size: int = 1) -> Any:
        """Return the result for this argument once it is durable.

        Args:
            changes: May be called again for the same argument after its changes were undone.
            argument: Passed to ``changes`` together with the arguments of other requests.
            size: The number of its records.

        Raises:
            DatabaseBusyError: When too many changes wait already.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise DatabaseBusyError
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        deadline = monotonic() + retrying.PATIENCE
        self._waiting.append(_Waiting(changes, argument, future, deadline, size))
        self._gather(loop)
        return await future

    def close(self) -> None:
        """Wait for the running transaction."""
        self._thread.shutdown()

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._is_running:
            self._is_running = True
            self._start_after(_TURNS, loop)

    def _start_after(self, turns: int, loop: asyncio.AbstractEventLoop) -> None:
        if turns:
            loop.call_soon(self._start_after, turns - 1, loop)
            return
        group = _next_group(self._waiting)
        self._waiting = _without(self._waiting, group)
        self._thread.submit(self._run, loop, group)

    def _run(self, loop: asyncio.AbstractEventLoop, group: Sequence[_Waiting]) -> None:
        outcomes: Sequence[Any]
        try:
            outcomes = retrying.retrying(partial(self._commit, group), group[0].deadline)
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            if isinstance(error, DatabaseUnavailableError) and not isinstance(error, UnknownOutcomeError):
                loop.call_soon_threadsafe(self._give_up, loop, group)
                return
            outcomes = [error] * len(group)
        else:
            if self._observer is not None:
                self._observer.committed(len(group))
        # A single wake-up serves them all.
        loop.call_soon_threadsafe(self._finish, loop, group, outcomes)

    def _give_up(self, loop: asyncio.AbstractEventLoop, group: Sequence[_Waiting]) -> None:
        """Fail all changes whose time is over, in this group or not; the others continue to wait."""
        over = monotonic() + retrying.LONGEST_PAUSE
        waiting = sorted([*group, *self._waiting], key=lambda one: one.deadline)
        late = [one for one in waiting if one.deadline <= over]
        self._waiting = _without(waiting, late)
        self._finish(loop, late, [DatabaseUnavailableError()] * len(late))

    def _finish(
        self, loop: asyncio.AbstractEventLoop, group: Sequence[_Waiting], outcomes: Sequence[Any]
    ) -> None:
        for waiting, outcome in zip(group, outcomes, strict=True):
            if waiting.future.done():
                continue  # its caller has gone
            if isinstance(outcome, Exception):
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome)
        self._is_running = False
        self._gather(loop)

    def _commit(self, group: Sequence[_Waiting], longest_wait: float) -> list[Any]:
        try:
            with durable_transaction(self._engine, longest_wait) as connection:
                return list(group[0].changes(connection, [waiting.argument for waiting in group]))
        except Exception as error:
            if _concerns_all(error):
                raise
        # One change has failed the whole group. They are repeated one by one, so that each can be undone
        # alone.
        with durable_transaction(self._engine, longest_wait) as connection:
            return [_make_alone(connection, waiting.make_alone) for waiting in group]


@contextmanager
def durable_transaction(engine: Engine, longest_wait: float) -> Iterator[Connection]:
    """Commit the changes of the ``with`` block.

    Args:
        engine: The engine for writing.
        longest_wait: The greatest number of seconds to wait for a lock.

    Raises:
        UnknownOutcomeError: When it is unknown whether the transaction was committed.
    """
    with engine.connect() as connection:
        retrying.let_wait(connection, longest_wait)
        with connection.begin() as transaction:
            yield connection
            try:
                transaction.commit()
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise UnknownOutcomeError from None
                raise


def _next_group(waiting: Sequence[_Waiting]) -> list[_Waiting]:
    """Return the changes of the same kind as the oldest one, in order, up to the largest group.

    Changes of one kind lock rows in one order. Those of another kind go into a later group, the oldest first.
    """
    kind = waiting[0].changes
    group: list[_Waiting] = []
    size = 0
    for one in waiting:
        if one.changes is kind:
            size += one.size
            if group and size > _LARGEST_GROUP:
                break
            group.append(one)
    return group


def _without(waiting: Sequence[_Waiting], taken: Collection[_Waiting]) -> list[_Waiting]:
    taken = set(taken)
    return [one for one in waiting if one not in taken]


def _make_alone(connection: Connection, change: Callable[[Connection], Result]) -> Result | Exception:
    try:
        with connection.begin_nested():
            return change(connection)
    except Exception as error:
        if _concerns_all(error):
            raise
        return UnexpectedDatabaseError(error) if isinstance(error, DBAPIError) else error


def _concerns_all(error: Exception) -> bool:
    return isinstance(error, ConflictError | DatabaseUnavailableError | ReplacedFileError) or (
        isinstance(error, DBAPIError) and (is_full(error) or is_passing(error))
    )
