"""What SQLite alone needs: durable commits, readers beside the writer, explicit transactions."""

from contextlib import closing
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event

from hl_sessions.process.sqlite_locks import while_locked
from hl_sessions.server.database.retrying import PATIENCE, longest_wait
from hl_sessions.server.database.tables import json_for_database

_PAGE_SIZE: Final = 16384
_IS_WRITING: Final = "sqlite_is_writing"


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
    """Give the same engine with transactions that take the write lock at their begin.

    A transaction that reads first and asks for the lock only then fails at once when another process has
    written in between, whatever the busy timeout (https://www.sqlite.org/isolation.html).
    """
    return engine.execution_options(**{_IS_WRITING: True})


def _configure(connection: Any, _record: object) -> None:
    # Else the driver begins transactions by itself, and only before some statements.
    connection.isolation_level = None
    # Closed at once: in PyPy an answer that nobody has fetched would keep transactions from ending.
    with closing(connection.cursor()) as cursor:
        # First, so that the others wait for another process too.
        cursor.execute(_busy_timeout(PATIENCE))
        # Of new files, before anything else is done to them. In smaller pages, the space left beside two
        # or three datapoints of some KB is as large as those are.
        cursor.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        # Readers go on beside the one writer. Several processes may start on a new file at the same moment.
        while_locked(lambda: cursor.execute("PRAGMA journal_mode = WAL"), PATIENCE)
        for pragma in (
            # A commit is on the disk before it is answered.
            "synchronous = FULL",
            "foreign_keys = ON",
            # KiB, as negative numbers; the default of 2 MiB does not hold the upper levels of large indexes.
            "cache_size = -16384",
        ):
            cursor.execute(f"PRAGMA {pragma}")


def _busy_timeout(seconds: float) -> str:
    return f"PRAGMA busy_timeout = {1000 * seconds:.0f}"


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get(_IS_WRITING):
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(_busy_timeout(longest_wait(connection))).close()
    connection.exec_driver_sql("BEGIN IMMEDIATE")
