"""Repeats work on a database that is locked or restarts, or where another transaction was faster."""

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
"""Seconds to wait for a database that is locked or restarts."""

LONGEST_PAUSE: Final = 0.25
"""The longest pause between two attempts, in seconds; the last attempt may begin this much before the
deadline.
"""

_SHORTEST_PAUSE: Final = 0.02
_SHORTEST_WAIT: Final = 0.1
_WAIT: Final = "longest_wait"

Result = TypeVar("Result")


def retrying(
    attempt: Callable[[float], Result], deadline: float | None = None, ending: Event | None = None
) -> Result:
    """Return the result of ``attempt``, which is called again after each temporary failure of the database.

    Args:
        attempt: Called with the seconds that it may wait for a lock.
        deadline: When to give up, by ``time.monotonic``; ``None``: after ``PATIENCE``.
        ending: Once it is set, there is time for one more attempt only; ``None``: never set.

    Raises:
        DatabaseFullError: When there is no space left to write.
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
            # The row of the other transaction can be looked up now.
            continue
        except DBAPIError as error:
            final = _final_error(error, is_late=monotonic() + pause > deadline)
            if final is not None:
                # "from None", because the driver's message may quote values of the statement.
                raise final from None
        if ending.wait(pause):
            deadline = monotonic()
        pause = min(2 * pause, LONGEST_PAUSE)


def _final_error(error: DBAPIError, *, is_late: bool) -> DatabaseError | None:
    """Return the exception to raise, or ``None`` if another attempt makes sense."""
    if is_full(error):
        return DatabaseFullError()
    if not is_passing(error) or (is_late and is_conflict(error)):
        return UnexpectedDatabaseError(error)
    return DatabaseUnavailableError() if is_late else None


def let_wait(connection: Connection, seconds: float) -> None:
    """Set how long the transactions of a writing connection wait for those of others."""
    connection.execution_options(**{_WAIT: seconds})


def longest_wait(connection: Connection) -> float:
    """Return how many seconds the transactions of a connection may wait for those of others."""
    seconds: float = connection.get_execution_options().get(_WAIT, PATIENCE)
    return seconds
