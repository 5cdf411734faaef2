"""A file of unsent datapoints and descriptions of sessions, which outlives the process.

Any number of processes of one machine can share it. A row belongs to the process that holds the claim on the
number of its owner. When that process ends, another one claims the number, and with it the rows.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hl_sessions.errors import ConfigurationError
from hl_sessions.process.claims import Claims
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.sqlite_locks import while_locked

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

__all__ = ["BUSY_TIMEOUT", "MOST_BYTES", "Row", "Spool", "SpoolError"]

BUSY_TIMEOUT = 5.0  # seconds to wait for another process that writes
MOST_BYTES = 1 << 30  # of the file
_LARGEST_NUMBER = 1 << 62  # of rows and of owners
_SET_UP = (
    "PRAGMA auto_vacuum = FULL",  # the file shrinks again after an outage; this affects only an empty file
    "PRAGMA journal_mode = WAL",
    # Row numbers are never used again, so no process deletes a row that another one has written meanwhile.
    """
    CREATE TABLE IF NOT EXISTS datapoints (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        owner INTEGER NOT NULL,
        session_field TEXT,
        session TEXT,
        reference_id TEXT NOT NULL,
        root TEXT NOT NULL,
        is_completion INTEGER NOT NULL,
        fields BLOB NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS datapoints_by_owner ON datapoints (owner)",
)
_TABLE_COLUMNS = "SELECT name FROM pragma_table_info('datapoints')"
_OTHER_TABLES = "SELECT count(*) FROM sqlite_master WHERE tbl_name NOT IN ('datapoints', 'sqlite_sequence')"
_COLUMNS = "number, session_field, session, reference_id, root, is_completion, fields"
_WRITE = f"INSERT OR REPLACE INTO datapoints (owner, {_COLUMNS}) VALUES (?, nullif(?, 0), ?, ?, ?, ?, ?, ?)"  # noqa: S608 - no value in it
_NAME = "UPDATE datapoints SET session_field = 'session_id', session = ? WHERE number = ?"
_DELETE = "DELETE FROM datapoints WHERE number = ?"
_NEXT_OWNER = "SELECT min(owner) FROM datapoints WHERE owner > ?"
_COUNT = "SELECT count(*) FROM datapoints WHERE owner = ?"

SpoolError = (sqlite3.Error, OSError)
"""The exceptions of a spool's methods if the file is unusable: full, deleted or replaced."""


class Row(NamedTuple):
    """A datapoint in the file.

    Attributes:
        number: the number of the row; 0: it has none yet.
        session_field: the field that names its session, ``session_id`` or ``session_reference_id``; ``None``:
            no session.
        session: the value of that field.
        reference_id: the ID of the datapoint; empty for the description of a session.
        root: the reference ID of the outermost datapoint that it is nested under, or its own.
        is_completion: whether the API has the datapoint already.
        fields: its fields without the session, in JSON.
    """

    number: int
    session_field: str | None
    session: str | None
    reference_id: str
    root: str
    is_completion: bool
    fields: bytes


class Spool:
    """The file. Its methods are called by one thread at a time, and may wait for other processes.

    Written rows survive the process, but not a power failure in the same second, as a sync for each write
    would cost too much.

    Args:
        path: the path of the file. Its folder must exist, and not lie on a network file system.

    Raises:
        ConfigurationError: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)) or str(path) in {"", ":memory:"} or "\0" in str(path):
            raise ConfigurationError(f"spool={path!r} must be the path of a file")
        self.path = Path(path).absolute()
        self._file: tuple[int, int] | None = None
        self._id = 0
        self._claims: Claims | None = None
        self._renew_after_fork()
        try:
            self.open()
        except SpoolError as error:
            self.close()
            if not _is_of_full_disk(error):  # there may be room again later
                raise ConfigurationError(f"spool={str(path)!r} cannot be opened: {error}") from None
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._connection: sqlite3.Connection | None = None

    def __del__(self) -> None:
        if hasattr(self, "_connection"):
            self.disconnect()

    def open(self) -> bool:
        """Open the file unless it is open; return whether it is a new file without the former rows.

        Raises:
            SpoolError: the file cannot be opened.
        """
        if self._connection is not None:
            if _identity(self.path) == self._file:
                return False
            self.disconnect()
        if not self.path.exists():
            # SQLite gives its further files the same mode.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            while_locked(partial(_check, connection), BUSY_TIMEOUT)
            for statement in _SET_UP:
                while_locked(partial(_value, connection, statement), BUSY_TIMEOUT)
            _value(connection, "PRAGMA synchronous = NORMAL")
            pages = MOST_BYTES // _value(connection, "PRAGMA page_size")
            _value(connection, f"PRAGMA max_page_count = {pages}")
            former, self._id = self._id, _id(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._file = _identity(self.path)
        if self._claims is not None and former != self._id:
            self._claims.close()
            self._claims = None
        if self._claims is None:
            self._claims = Claims(self.path.with_name(self.path.name + "-owners"))
        while not self._claims.numbers:
            self._claims.claim(secrets.randbelow(_LARGEST_NUMBER))
        return former not in {0, self._id}

    def write(self, rows: Iterable[Row]) -> list[int]:
        """Write new or changed rows, and return their numbers."""
        owner = self._owners()[0]
        with self._transaction() as connection:
            return [_inserted(connection, (owner, *row)) for row in rows]

    def name(self, sessions: Iterable[tuple[str, int]]) -> None:
        """Note the IDs of the sessions of rows, given by their numbers."""
        with self._transaction() as connection:
            connection.executemany(_NAME, sessions)

    def delete(self, numbers: Iterable[int]) -> None:
        """Delete rows."""
        with self._transaction() as connection:
            connection.executemany(_DELETE, ((number,) for number in numbers))

    def read(self, before: int, most_rows: int) -> Generator[Row, None, None]:
        """Yield the rows of this process, the oldest first.

        Args:
            before: the number at which to stop; 0: do not stop.
            most_rows: the most rows to yield.
        """
        owners = self._owners()
        statement = (
            f"SELECT {_COLUMNS} FROM datapoints WHERE owner IN ({', '.join('?' * len(owners))})"  # noqa: S608 - no value in it
            " AND number < ? ORDER BY number LIMIT ?"
        )
        parameters = (*owners, before or _LARGEST_NUMBER, most_rows)
        with closing(self._connected().execute(statement, parameters)) as cursor:
            for row in cursor:
                yield Row(*row)

    def adopt(self) -> int:
        """Take over the rows of processes that have ended; return the number of rows."""
        connection, claims = self._connected(), self._claims
        count, owner = 0, -1
        while claims is not None and (found := _value(connection, _NEXT_OWNER, (owner,))) is not None:
            owner = found
            if owner not in claims.numbers and claims.claim(owner):
                count += _value(connection, _COUNT, (owner,))
        return count

    def disconnect(self) -> None:
        """Close the connection; the rows still belong to this process."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close the file, and leave the rows to other processes."""
        self.disconnect()
        claims, self._claims = self._claims, None
        if claims is not None:
            claims.close()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the file is closed")
        return self._connection

    def _owners(self) -> Sequence[int]:
        return [] if self._claims is None else self._claims.numbers

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connected()
        with _alone(connection):
            yield connection


@contextmanager
def _alone(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep other connections from writing until the end; a failure undoes all changes."""
    _value(connection, "BEGIN IMMEDIATE")
    with connection:
        yield


def _is_of_full_disk(error: Exception) -> bool:
    # Before Python 3.11 an error of SQLite has no code.
    return str(error) == "database or disk is full" or getattr(error, "errno", None) == errno.ENOSPC


def _check(connection: sqlite3.Connection) -> None:
    """Check that a file is a spool, or empty.

    Raises:
        sqlite3.DatabaseError: it has other tables.
    """
    with closing(connection.execute(_TABLE_COLUMNS)) as cursor:
        columns = {name for (name,) in cursor}
    if (columns and columns != {"owner", *_COLUMNS.split(", ")}) or _value(connection, _OTHER_TABLES):
        raise sqlite3.DatabaseError("it is a database of another program, or of another version")


def _id(connection: sqlite3.Connection) -> int:
    """Return a number of this file, which another file with its name and inode does not have."""
    with _alone(connection):
        number = _value(connection, "PRAGMA user_version")
        if not number:
            number = 1 + secrets.randbits(30)
            _value(connection, f"PRAGMA user_version = {number}")
    return int(number)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


# Every cursor is closed, as PyPy collects garbage late.


def _value(connection: sqlite3.Connection, statement: str, parameters: Sequence[object] = ()) -> Any:
    with closing(connection.execute(statement, parameters)) as cursor:
        row = cursor.fetchone()
    return None if row is None else row[0]


def _inserted(connection: sqlite3.Connection, values: Sequence[object]) -> int:
    with closing(connection.execute(_WRITE, values)) as cursor:
        return cursor.lastrowid or 0
