"""Patience with a database that is locked, that restarts, or in which somebody else was faster."""

from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hl_sessions.server.database.errors import (
    ConflictError,
    DatabaseError,
    DatabaseFullError,
    DatabaseUnavailableError,
    UnexpectedDatabaseError,
    is_conflict,
    is_full,
    is_passing,
)

PATIENCE: Final = 5.0
"""Seconds for which a database that is locked or restarts is waited for."""

LONGEST_PAUSE: Final = 0.25
"""Seconds between two attempts, at most, and by which the last one may begin too early."""

_SHORTEST_PAUSE: Final = 0.02
_SHORTEST_WAIT: Final = 0.1
_WAIT: Final = "longest_wait"

Result = TypeVar("Result")


def retrying(
    attempt: Callable[[float], Result], deadline: float | None = None, ending: Event | None = None
) -> Result:
    """Answer what ``attempt`` returns, which is called again while the database is only passingly at fault.

    Args:
        attempt: Is given how long it may wait for a lock, in seconds.
        deadline: When to give up, by ``time.monotonic``; ``None`` is after ``PATIENCE``.
        ending: Set once there is no time left for more than one attempt; ``None`` is never.

    Raises:
        DatabaseFullError: When there is no space left to write to.
        DatabaseUnavailableError: When the database did not recover in time.
        UnexpectedDatabaseError: When it failed in any other way.
    """
    ending = ending or Event()
    if deadline is None:
        deadline = monotonic() + (0 if ending.is_set() else PATIENCE)
    pause = _SHORTEST_PAUSE
    while True:
        try:
            return attempt(max(deadline - monotonic(), _SHORTEST_WAIT))
        except ConflictError:
            if monotonic() > deadline:
                raise DatabaseUnavailableError from None
            # What was in the way is there to be found now.
            continue
        except DBAPIError as error:
            final = _final_error(error, is_late=monotonic() + pause > deadline)
            if final is not None:
                # "from None": the driver's message may quote what was to be stored.
                raise final from None
        if ending.wait(pause):
            deadline = monotonic()
        pause = min(2 * pause, LONGEST_PAUSE)


def _final_error(error: DBAPIError, *, is_late: bool) -> DatabaseError | None:
    """Return what to raise; ``None`` if it is worth another attempt."""
    if is_full(error):
        return DatabaseFullError()
    if not is_passing(error) or (is_late and is_conflict(error)):
        return UnexpectedDatabaseError(error)
    return DatabaseUnavailableError() if is_late else None


def let_wait(connection: Connection, seconds: float) -> None:
    """Limit how long the transactions of a connection, which writes, wait for those of others."""
    connection.execution_options(**{_WAIT: seconds})


def longest_wait(connection: Connection) -> float:
    """Return how many seconds the transactions of a connection may wait for those of others."""
    seconds: float = connection.get_execution_options().get(_WAIT, PATIENCE)
    return seconds
