"""Patience with a database that is locked, or that restarts."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError

from hl_sessions.server.database.errors import (
    DatabaseFullError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    UnexpectedDatabaseError,
    is_full,
    is_passing,
    was_ended,
)

PATIENCE: Final = 5.0
"""Seconds for which a database that is locked or restarts is waited for."""

_SHORTEST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5

Result = TypeVar("Result")


def retrying(attempt: Callable[[], Result]) -> Result:
    """Answer what ``attempt`` returns, which is called again while the database is only passingly at fault.

    Raises:
        DatabaseFullError: When there is no space left to write to.
        DatabaseTimeoutError: When a statement was ended, as it took too long.
        DatabaseUnavailableError: When the database did not recover in time.
        UnexpectedDatabaseError: When it failed in any other way.
    """
    deadline = monotonic() + PATIENCE
    pause = _SHORTEST_PAUSE
    while True:
        try:
            return attempt()
        except DBAPIError as error:
            # "from None": the driver's message may quote what was to be stored.
            if is_full(error):
                raise DatabaseFullError from None
            if was_ended(error):
                raise DatabaseTimeoutError from None
            if not is_passing(error):
                raise UnexpectedDatabaseError(error) from None
            if monotonic() + pause > deadline:
                raise DatabaseUnavailableError from None
        sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
