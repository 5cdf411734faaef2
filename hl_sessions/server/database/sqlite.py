"""What SQLite alone needs: durable commits, readers beside the writer, explicit transactions."""

import sqlite3
from contextlib import closing
from time import monotonic
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event

from hl_sessions.process.sqlite_locks import while_locked
from hl_sessions.server.database.retrying import PATIENCE, longest_wait
from hl_sessions.server.database.tables import json_for_database

_PAGE_SIZE: Final = 16384
_IS_WRITING: Final = "sqlite_is_writing"
_VERSION: Final = "sqlite_data_version"

_INCREMENTAL: Final = 2
"""The mode of ``PRAGMA auto_vacuum`` in which free pages are given back when that is asked for."""

_KEPT_FREE: Final = 10
"""Which part of a file stays free, for what will be written."""

_PAGES_AT_ONCE: Final = 250
"""How many pages a step gives back at most. What the last ones of the file hold may have to be moved."""

_LONGEST: Final = 0.01
"""Seconds after which a step moves nothing more: its commit takes a while, too."""

_LOCK_TIMEOUT: Final = 0.003
"""Seconds that SQLite itself waits for the write lock, before it is told to again.

Its own pauses grow up to a tenth of a second, and miss what others let go of for a moment only.
"""


def create_sqlite_engine(url: URL, connections: int) -> Engine:
    """Make an engine for an SQLite file; each transaction of it reads one snapshot.

    Args:
        url: An SQLAlchemy URL of a file.
        connections: How many are kept open.
    """
    # SQLAlchemy's messages would carry the payloads of a failed statement into the log.
    engine = create_engine(
        url, hide_parameters=True, json_serializer=json_for_database, pool_size=connections
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def sqlite_for_writing(engine: Engine) -> Engine:
    """Return the same engine with transactions that take the write lock at their begin.

    A transaction that reads first and asks for the lock only then fails at once when another process has
    written in between, whatever the busy timeout (https://www.sqlite.org/isolation.html).
    """
    return engine.execution_options(**{_IS_WRITING: True})


def others_wrote_to_sqlite(connection: Connection) -> bool:
    """Tell whether others have written since this was last asked on the same connection of the pool."""
    version = _pragma(connection, "data_version")
    before: int = connection.info.get(_VERSION, version)
    connection.info[_VERSION] = version
    return version != before


def give_back_pages(connection: Connection) -> bool:
    """Make the file smaller by some of the space that is free in it, and tell whether there is more of that.

    A tenth of the file stays free for what will be written. Files that earlier versions have made keep all.

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


def _configure(connection: Any, _record: object) -> None:
    # Else the driver begins transactions by itself, and only before some statements.
    connection.isolation_level = None
    # Closed at once: in PyPy an answer that nobody has fetched would keep transactions from ending.
    with closing(connection.cursor()) as cursor:
        # First, so that the others wait for another process too.
        cursor.execute(_busy_timeout(PATIENCE))
        # Before there is anything in a new file; others keep what they have.
        if cursor.execute("PRAGMA page_count").fetchone() == (0,):
            # In smaller pages, the space left beside two or three datapoints of some KB is as large as those.
            cursor.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
            # See ``give_back_pages``.
            while_locked(lambda: cursor.execute("PRAGMA auto_vacuum = INCREMENTAL"), PATIENCE)
        # Readers go on beside the one writer. Several processes may start on a new file at the same moment.
        while_locked(lambda: cursor.execute("PRAGMA journal_mode = WAL"), PATIENCE)
        for pragma in (
            # A commit is on the disk before it is answered.
            "synchronous = FULL",
            "foreign_keys = ON",
            # KiB, as negative numbers, for each connection. The default of 2 MiB does not hold the upper
            # levels of large indexes; much more would fill with payloads that were read once.
            "cache_size = -4096",
        ):
            cursor.execute(f"PRAGMA {pragma}")


def _busy_timeout(seconds: float) -> str:
    return f"PRAGMA busy_timeout = {1000 * seconds:.0f}"


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get(_IS_WRITING):
        connection.exec_driver_sql("BEGIN")
        return
    end = monotonic() + longest_wait(connection)
    connection.exec_driver_sql(_busy_timeout(_LOCK_TIMEOUT)).close()
    driver_connection: Any = connection.connection.driver_connection
    while _is_locked(driver_connection) and monotonic() < end:
        pass
    if not driver_connection.in_transaction:
        # Raises what the driver does, in the way in which SQLAlchemy tells it.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _is_locked(driver_connection: Any) -> bool:
    """Try to begin, and tell whether others have the lock."""
    try:
        driver_connection.execute("BEGIN IMMEDIATE").close()
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    return False
