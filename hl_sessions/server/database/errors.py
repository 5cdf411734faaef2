"""What can go wrong with a database, told apart by what a caller can do about it.

The drivers' own messages may quote what was to be stored, and so get no further than here.
"""

from typing import Final

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

_SHOWN_STATEMENT: Final = 200  # characters

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_FULL_STATES: Final = ("53100",)
# Somebody else was faster to take a name, or to delete what is referred to, which is seen by looking again.
_CONFLICTING_STATES: Final = ("23503", "23505")
_PASSING_STATES: Final = (
    *_CONFLICTING_STATES,
    "08",  # the connection broke
    "25P03",  # this process stood still for so long that its transaction was ended
    "40",  # a deadlock, or rows that have changed: another transaction goes first
    "53",  # no memory, or no connection, is left
    "55P03",  # a lock was not to be had
    "57014",  # a statement took too long
    "57P",  # the server stops, or starts
)
_ENDED_STATES: Final = ("57014",)
# The drivers of Python 3.10 give SQLite's messages only. A quota, or a limit on the size of files, is an I/O
# error to SQLite.
_FULL_MESSAGES: Final = ("database or disk is full", "disk I/O error")
_PASSING_MESSAGES: Final = ("database is locked", "database table is locked")
_ENDED_MESSAGES: Final = ("interrupted",)


class DatabaseError(Exception):
    """The database did not do what it was asked to; the message holds nothing of what that was about."""


class DatabaseFullError(DatabaseError):
    """There is no space to write to; what is there can be read."""

    def __init__(self) -> None:
        super().__init__("the disk of the database is full")


class DatabaseUnavailableError(DatabaseError):
    """The database did not answer, or somebody else kept it locked, for as long as it was waited for."""

    def __init__(self) -> None:
        super().__init__("the database is locked or does not answer")


class UnknownOutcomeError(DatabaseUnavailableError):
    """The connection broke while a transaction was committed: to do it again could be to do it twice."""


class ConflictError(Exception):
    """Somebody else has stored a row of the same name a moment before; all is as if this was never begun."""

    def __init__(self) -> None:
        super().__init__("somebody else has stored a row of the same name")


class DatabaseBusyError(DatabaseError):
    """So many ask the database that this one did not get its turn."""

    def __init__(self) -> None:
        super().__init__("too many requests wait for the database")


class DatabaseTimeoutError(DatabaseError):
    """The database was told to end a statement that took too long."""

    def __init__(self) -> None:
        super().__init__("the database took too long")


class UnexpectedDatabaseError(DatabaseError):
    """The database refused a statement, which is nobody's fault but this program's.

    Args:
        error: What SQLAlchemy raised; of it, what holds no values is kept.
    """

    def __init__(self, error: DBAPIError) -> None:
        state = getattr(error.orig, "sqlstate", None) or "no SQLSTATE"
        statement = (error.statement or "no statement")[:_SHOWN_STATEMENT]
        super().__init__(f"{type(error.orig).__name__} ({state}) in: {statement}")


def cannot_open(url: URL, error: DBAPIError) -> str:
    """Say in one line that a database could not be opened, and why; without its password."""
    # The parameters of a URL may hold a password, too.
    shown = url.database if url.get_backend_name() == "sqlite" else str(url.set(query={}))
    reason = str(error.orig).partition("\n")[0]
    return f"cannot open the database {shown}: {reason}"


def is_full(error: DBAPIError) -> bool:
    """Tell whether there was no space left to write to."""
    return _matches(error, _FULL_STATES, _FULL_MESSAGES)


def is_passing(error: DBAPIError) -> bool:
    """Tell whether the same may work a little later."""
    return error.connection_invalidated or _matches(error, _PASSING_STATES, _PASSING_MESSAGES)


def is_conflict(error: DBAPIError) -> bool:
    """Tell whether the same will work when what has changed meanwhile is looked up, or else never."""
    return _matches(error, _CONFLICTING_STATES, ())


def was_ended(error: DBAPIError) -> bool:
    """Tell whether a statement was ended, as it took too long or as nobody waits for it any more."""
    return _matches(error, _ENDED_STATES, _ENDED_MESSAGES)


def _matches(error: DBAPIError, states: tuple[str, ...], messages: tuple[str, ...]) -> bool:
    if not hasattr(error.orig, "sqlstate"):
        return str(error.orig) in messages
    # Without a state it was not the server that said so, but the driver: there is no connection.
    state: str = getattr(error.orig, "sqlstate", None) or "08"
    return state.startswith(states)
