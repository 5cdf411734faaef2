"""Changes of one kind by waiting requests share one transaction, and so one wait for the disk."""

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
    UnexpectedDatabaseError,
    UnknownOutcomeError,
    is_full,
    is_passing,
)

_LARGEST_GROUP: Final = 1000
"""How many records share a transaction, unless one request has more: others wait for as long as it takes."""

_TURNS: Final = 4
"""For how many turns of the event loop a group is gathered: requests that have arrived need some to come by.

Who is alone waits some microseconds for that. Of many, all come by, and not only half of them.
"""

MOST_WAITING: Final = 4096
"""How many changes may wait for their turn; the next one is refused at once."""

Result = TypeVar("Result")
Changes: TypeAlias = Callable[[Connection, Sequence[Any]], Sequence[Any]]
"""Makes a change for each argument, in one go. An exception among the results refuses that argument alone."""


class DatabaseObserver(Protocol):
    """Is told what a database has done, on whatever thread; what it does then takes no time to speak of."""

    def committed(self, writes: int) -> None:
        """Note a transaction that holds the writes of so many requests."""

    def failed(self, error: DatabaseError) -> None:
        """Note a read or a write of one request that the database did not do."""


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
    """Takes changes from one event loop, and makes those that have come in meanwhile, of one kind, together.

    Each change waits for the database for as long as one alone would, whatever the others of its group do.

    Args:
        engine: Where to make them.
        observer: Is told how many of them each transaction held.
    """

    def __init__(self, engine: Engine, observer: DatabaseObserver | None = None) -> None:
        self._engine = engine
        self._observer = observer
        self._is_running = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hl-sessions-writer")
        # The oldest one first.
        self._waiting: list[_Waiting] = []

    async def make(self, changes: Changes, argument: Any, size: int = 1) -> Any:
        """Answer the result for this argument once it is durable.

        Args:
            changes: May be called again for the same argument, after what it did before was undone.
            argument: What to call it with, together with the arguments of other requests.
            size: How many records it is about.

        Raises:
            DatabaseBusyError: When too many wait already.
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
        """Wait for the transaction that runs."""
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
        # One wake-up for all of them.
        loop.call_soon_threadsafe(self._finish, loop, group, outcomes)

    def _give_up(self, loop: asyncio.AbstractEventLoop, group: Sequence[_Waiting]) -> None:
        """End the wait of all whose time is over, in this group or not; the others wait on."""
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
                continue  # who waited has gone
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
        # One of them spoiled it for all. Again then, each so that it can be undone alone.
        with durable_transaction(self._engine, longest_wait) as connection:
            return [_make_alone(connection, waiting.make_alone) for waiting in group]


@contextmanager
def durable_transaction(engine: Engine, longest_wait: float) -> Iterator[Connection]:
    """Commit what is done in the ``with`` block.

    Args:
        engine: Where to.
        longest_wait: Seconds to wait for a lock, at most.

    Raises:
        UnknownOutcomeError: When nobody can tell whether it was committed.
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
    """Return those of the kind of the oldest, in their order, up to the largest group.

    Of one kind, as a transaction locks rows in one order. The oldest of another one is next.
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
    return isinstance(error, ConflictError | DatabaseUnavailableError) or (
        isinstance(error, DBAPIError) and (is_full(error) or is_passing(error))
    )
