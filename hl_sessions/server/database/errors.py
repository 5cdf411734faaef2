"""The failures of a database, by what a caller can do about them.

The drivers' own messages may quote stored values, so they get no further than here.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from hl_sessions.server.database.place import file_path

_SHOWN_STATEMENT: Final = 200  # characters

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_FULL_STATES: Final = ("53100",)
# Another transaction was faster to take a name, or to delete a record that is referred to. A new look-up
# shows it.
_CONFLICTING_STATES: Final = ("23503", "23505")
_PASSING_STATES: Final = (
    *_CONFLICTING_STATES,
    "08",  # the connection broke
    "25P03",  # this process paused for so long that its transaction was ended
    "40",  # a deadlock, or changed rows: another transaction goes first
    "53",  # out of memory, or of connections
    "55P03",  # a lock was not available
    "57014",  # a statement took too long
    "57P",  # the server stops or starts
)
_ENDED_STATES: Final = ("57014",)
# On Python 3.10 SQLite's errors have only messages. SQLite reports a quota, or a limit on the size of files,
# as an I/O error.
_FULL_MESSAGES: Final = ("database or disk is full", "disk I/O error")
_PASSING_MESSAGES: Final = ("database is locked", "database table is locked")
_ENDED_MESSAGES: Final = ("interrupted",)
_NOT_OPENED: Final = "unable to open database file"
# Other messages of SQLite and its driver quote values, such as a text that cannot be decoded.
_FILE_MESSAGES: Final = (
    "attempt to write a readonly database",
    "database disk image is malformed",
    "file is not a database",
    _NOT_OPENED,
)


class DatabaseError(Exception):
    """The database has failed; the message holds nothing of the statement's values."""


class DatabaseFullError(DatabaseError):
    """There is no space to write; reading still works."""

    def __init__(self) -> None:
        super().__init__("the disk of the database is full")


class DatabaseUnavailableError(DatabaseError):
    """The database did not answer, or stayed locked by others, for the whole time of patience."""

    def __init__(self) -> None:
        super().__init__("the database is locked or does not answer")


class UnknownOutcomeError(DatabaseUnavailableError):
    """The connection broke during a commit: repeating the transaction could make its changes twice."""


class ConflictError(Exception):
    """Another transaction has just stored a row with the same name; nothing of this one is left."""

    def __init__(self) -> None:
        super().__init__("another transaction has stored a row with the same name")


class DatabaseBusyError(DatabaseError):
    """Too many requests wait for the database."""

    def __init__(self) -> None:
        super().__init__("too many requests wait for the database")


class DatabaseTimeoutError(DatabaseError):
    """A statement took too long, and was stopped."""

    def __init__(self) -> None:
        super().__init__("the database took too long")


class ForeignFileError(DatabaseError):
    """The SQLite file belongs to another program; it was not changed.

    Args:
        path: The path of the file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} has tables of another program, and none of hl-sessions: give another file with --db"
        )


class ReplacedFileError(DatabaseError):
    """The path of the SQLite file leads to another file or to none, so what is written would be lost.

    Args:
        path: The path of the file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} was moved, removed or replaced, so nothing is written: put it back, or start again"
        )


class UnexpectedDatabaseError(DatabaseError):
    """The database refused a statement because of a defect of this program, or of its file.

    Args:
        error: The error of SQLAlchemy; only the parts without values are kept.
    """

    def __init__(self, error: DBAPIError) -> None:
        message = str(error.orig)
        reason = message if message in _FILE_MESSAGES else "no SQLSTATE"
        state = getattr(error.orig, "sqlstate", None) or reason
        statement = (error.statement or "no statement")[:_SHOWN_STATEMENT]
        super().__init__(f"{type(error.orig).__name__} ({state}) in: {statement}")


def cannot_open(url: URL, error: DBAPIError) -> str:
    """Describe in one line why a database could not be opened, without its password."""
    reason = _first_line(error)
    path = file_path(url)
    if reason == _NOT_OPENED and path is not None:
        reason = _cannot_be_file(path) or reason
    return f"cannot open the database {_shown(url)}: {reason}"


def cannot_write(url: URL, error: DBAPIError) -> str:
    """Describe in one line why a database could not be written to, without its password."""
    return f"cannot write to the database {_shown(url)}: {_first_line(error)}"


def _shown(url: URL) -> str:
    # Parameters of the URL may hold a password, too.
    return str(url.database if url.get_backend_name() == "sqlite" else url.set(query={}))


def _cannot_be_file(path: Path) -> str | None:
    """Say why there can be no file at a path, if that is known."""
    # Without the right to look there.
    with suppress(PermissionError):
        if path.is_dir():
            return "it is a folder, and has to be a file"
        if not path.parent.is_dir():
            return f"there is no folder {path.parent}"
    return None


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]


def is_full(error: DBAPIError) -> bool:
    """Tell whether there was no space left to write."""
    return _matches(error, _FULL_STATES, _FULL_MESSAGES)


def is_passing(error: DBAPIError) -> bool:
    """Tell whether the same transaction may succeed a little later."""
    return error.connection_invalidated or _matches(error, _PASSING_STATES, _PASSING_MESSAGES)


def is_conflict(error: DBAPIError) -> bool:
    """Tell whether the same transaction can succeed only after looking up what has changed meanwhile."""
    return _matches(error, _CONFLICTING_STATES, ())


def was_ended(error: DBAPIError) -> bool:
    """Tell whether a statement was stopped because it took too long, or because its client has gone."""
    return _matches(error, _ENDED_STATES, _ENDED_MESSAGES)


def _matches(error: DBAPIError, states: tuple[str, ...], messages: tuple[str, ...]) -> bool:
    if not hasattr(error.orig, "sqlstate"):
        return str(error.orig) in messages
    # An error without a state comes from the driver, not from the server: there is no connection.
    state: str = getattr(error.orig, "sqlstate", None) or "08"
    return state.startswith(states)
