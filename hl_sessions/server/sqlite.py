"""What SQLite alone needs: durable commits, readers beside the writer, explicit transactions."""

from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event

_PRAGMAS: Final = (
    # First, so that the others wait for another process too. Milliseconds.
    "PRAGMA busy_timeout = 30000",
    # Readers go on beside the one writer.
    "PRAGMA journal_mode = WAL",
    # A commit is on the disk before it is answered.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
_BEGIN: Final = "sqlite_begin"


def create_sqlite_engine(url: URL) -> Engine:
    """Make an engine for an SQLite file; each transaction of it reads one snapshot.

    Args:
        url: An SQLAlchemy URL of a file.
    """
    # SQLAlchemy's messages would carry the payloads of a failed statement into the log.
    engine = create_engine(url, hide_parameters=True)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def for_writing(engine: Engine) -> Engine:
    """Give the same engine with transactions that take the write lock at their begin.

    A transaction that reads first and asks for the lock only then fails at once when another process has
    written in between, whatever the busy timeout (https://www.sqlite.org/isolation.html).
    """
    return engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


def _configure(connection: Any, _record: object) -> None:
    # Else the driver begins transactions by itself, and only before some statements.
    connection.isolation_level = None
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
