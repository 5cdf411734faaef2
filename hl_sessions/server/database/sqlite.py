"""The engine for SQLite: durable commits, readers beside the writer, explicit transactions."""

import sqlite3
from contextlib import closing
from time import monotonic
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event

from hl_sessions.process.sqlite_locks import while_locked
from hl_sessions.server.database.errors import ForeignFileError
from hl_sessions.server.database.retrying import PATIENCE, longest_wait
from hl_sessions.server.database.sqlite_file import SQLiteFile
from hl_sessions.server.database.tables import json_for_database, organisations

_PAGE_SIZE: Final = 16384
_IS_WRITING: Final = "sqlite_is_writing"
_VERSION: Final = "sqlite_data_version"
_FILE: Final = "sqlite_file"

_INCREMENTAL: Final = 2
"""The mode of ``PRAGMA auto_vacuum`` in which free pages are returned on request."""

_KEPT_FREE: Final = 10
"""The part of a file, as a divisor, that stays free for later writes."""

_PAGES_AT_ONCE: Final = 250
"""The greatest number of pages that a step returns. The content of the last pages may have to be moved."""

_LONGEST: Final = 0.01
"""Seconds after which a step moves no more pages: its commit takes a while, too."""

_LOCK_TIMEOUT: Final = 0.003
"""Seconds that SQLite itself waits for the write lock before it is asked again.  Its own pauses grow up to a
tenth of a second, and miss locks that are released only for a moment.
"""


def create_sqlite_engine(url: URL, connections: int) -> Engine:
    """Make an engine for an SQLite file; each of its transactions reads one snapshot.

    Args:
        url: An SQLAlchemy URL of a file.
        connections: The number of open connections.
    """
    # SQLAlchemy's messages would carry the payloads of a failed statement into the log.
    engine = create_engine(
        url,
        hide_parameters=True,
        json_serializer=json_for_database,
        pool_size=connections,
        # Each connection keeps pages in memory, so as few as possible are used.
        pool_use_lifo=True,
    )
    file = SQLiteFile()

    def configure(connection: Any, record: Any) -> None:
        record.info[_FILE] = file
        _configure(connection, file)

    event.listen(engine, "do_connect", file.before_opening)
    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", _begin)
    return engine


def sqlite_for_writing(engine: Engine) -> Engine:
    """Return the same engine for transactions that take the write lock when they begin.

    A transaction that reads first, and asks for the lock only then, fails at once if another process has
    written in between, regardless of the busy timeout (https://www.sqlite.org/isolation.html).
    """
    return engine.execution_options(**{_IS_WRITING: True})


def others_wrote_to_sqlite(connection: Connection) -> bool:
    """Tell whether others have written since the last call on the same connection of the pool."""
    version = _pragma(connection, "data_version")
    before: int = connection.info.get(_VERSION, version)
    connection.info[_VERSION] = version
    return version != before


def is_sqlite_file_replaced(connection: Connection) -> bool:
    """Tell whether the path of the database no longer leads to the file that the connection has open."""
    return _file_of(connection).is_replaced()


def give_back_pages(connection: Connection) -> bool:
    """Make the file smaller by some of its free space, and tell whether there is more.

    A tenth of the file stays free for later writes. Files of earlier versions keep all of their space.

    Args:
        connection: The connection of a transaction that writes.
    """
    if _pragma(connection, "auto_vacuum") != _INCREMENTAL:
        return False
    pages = _pragma(connection, "freelist_count") - _pragma(connection, "page_count") // _KEPT_FREE
    end = monotonic() + _LONGEST
    given = 0
    driver_connection: Any = connection.connection.driver_connection
    while given < min(pages, _PAGES_AT_ONCE) and monotonic() < end:
        # The driver does one step of a statement that has no columns, which is one page.
        driver_connection.execute("PRAGMA incremental_vacuum(1)").close()
        given += 1
    return given < pages


def _pragma(connection: Connection, name: str) -> int:
    value: int = connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
    return value


def _file_of(connection: Connection) -> SQLiteFile:
    file: SQLiteFile = connection.info[_FILE]
    return file


def _configure(connection: Any, file: SQLiteFile) -> None:
    # Otherwise the driver begins transactions by itself, and only before some statements.
    connection.isolation_level = None
    # Closed at once: on PyPy an unread result would keep transactions from ending.
    with closing(connection.cursor()) as cursor:
        # First, so that the following statements wait for other processes, too.
        cursor.execute(_busy_timeout(PATIENCE))
        # Before a new file has any content; existing files keep their setting.
        if cursor.execute("PRAGMA page_count").fetchone() == (0,):
            # In smaller pages, the gaps beside two or three datapoints of some KB are as large as the
            # datapoints.
            cursor.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
            # See ``give_back_pages``.
            while_locked(lambda: cursor.execute("PRAGMA auto_vacuum = INCREMENTAL"), PATIENCE)
        [(_, _, path)] = cursor.execute("PRAGMA database_list")
        if _is_foreign(cursor):
            raise ForeignFileError(path)
        file.opened(path)
        # Readers continue beside the one writer. Several processes may start on a new file at the same time.
        while_locked(lambda: cursor.execute("PRAGMA journal_mode = WAL"), PATIENCE)
        for pragma in (
            # A commit is on the disk before it is answered.
            "synchronous = FULL",
            "foreign_keys = ON",
            # KiB, as negative numbers, for each connection. The default of 2 MiB does not hold the upper
            # levels of large indexes. Much more would fill with payloads that are read once.
            "cache_size = -4096",
        ):
            cursor.execute(f"PRAGMA {pragma}")


def _is_foreign(cursor: Any) -> bool:
    """Tell whether there are tables, but not the first one that a migration makes."""
    tables = {name for (name,) in cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return bool(tables) and organisations.name not in tables


def _busy_timeout(seconds: float) -> str:
    return f"PRAGMA busy_timeout = {1000 * seconds:.0f}"


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get(_IS_WRITING):
        connection.exec_driver_sql("BEGIN")
        return
    _file_of(connection).check()
    end = monotonic() + longest_wait(connection)
    connection.exec_driver_sql(_busy_timeout(_LOCK_TIMEOUT)).close()
    driver_connection: Any = connection.connection.driver_connection
    while _is_locked(driver_connection) and monotonic() < end:
        pass
    if not driver_connection.in_transaction:
        # Raises the driver's error, wrapped by SQLAlchemy.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _is_locked(driver_connection: Any) -> bool:
    """Try to begin, and tell whether another connection has the lock."""
    try:
        driver_connection.execute("BEGIN IMMEDIATE").close()
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    return False
