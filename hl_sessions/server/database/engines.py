"""Makes SQLAlchemy engines that behave alike for both databases."""

from typing import Any, Final

from sqlalchemy import URL, Connection, Engine

from hl_sessions.server.database.postgresql import (
    cancel_statement,
    create_postgresql_engine,
    postgresql_for_migrating,
    postgresql_for_reading,
    postgresql_for_writing,
)
from hl_sessions.server.database.sqlite import (
    create_sqlite_engine,
    give_back_pages,
    is_sqlite_file_replaced,
    others_wrote_to_sqlite,
    sqlite_for_writing,
)

READERS: Final = 4
"""The number of reads of single records that may run in parallel."""

SCANNERS: Final = 2
"""The number of searches and lists that may run beside them."""

_CONNECTIONS: Final = READERS + SCANNERS + 4
"""Those of the reads, one for the small queries of the server itself, one that writes, and two for background
work.
"""


def open_engine(url: URL) -> Engine:
    """Make the engine of a database, without connecting yet."""
    if url.get_backend_name() == "sqlite":
        engine = create_sqlite_engine(url, _CONNECTIONS)
    else:
        engine = create_postgresql_engine(url, _CONNECTIONS)
    # Many rows fit into one statement, because between two statements another thread may take the interpreter
    # and return it late.
    engine.dialect.use_insertmanyvalues_wo_returning = True
    return engine


def for_reading(engine: Engine, longest: float | None = None) -> Engine:
    """Return the same engine for transactions whose statements all see the same state.

    Args:
        engine: The engine.
        longest: Seconds after which PostgreSQL ends a statement by itself; ``None``: never.
    """
    return engine if engine.name == "sqlite" else postgresql_for_reading(engine, longest)


def interrupt(engine: Engine, driver_connection: Any) -> None:
    """Stop the statement that a connection runs on another thread, if there is one; it raises there.

    Args:
        engine: The engine of the connection.
        driver_connection: The connection of the driver.
    """
    if engine.name == "sqlite":
        driver_connection.interrupt()
    else:
        cancel_statement(driver_connection)


def for_writing(engine: Engine) -> Engine:
    """Return the same engine for transactions that write.

    On SQLite they take turns among all processes. On PostgreSQL they run in parallel.
    """
    return sqlite_for_writing(engine) if engine.name == "sqlite" else postgresql_for_writing(engine)


def others_wrote(connection: Connection) -> bool:
    """Tell whether others have written since the last call, on a database where writers take turns.

    Args:
        connection: The connection of a transaction that writes.
    """
    return connection.dialect.name == "sqlite" and others_wrote_to_sqlite(connection)


def is_file_replaced(connection: Connection) -> bool:
    """Tell whether the database is a file that was moved, removed or replaced while it was open."""
    return connection.dialect.name == "sqlite" and is_sqlite_file_replaced(connection)


def give_back_space(connection: Connection) -> bool:
    """Return some of the free space in the database to the disk.

    PostgreSQL does so by itself, as far as it can.

    Args:
        connection: The connection of a transaction that writes.

    Returns:
        Whether there is more to return.
    """
    return connection.dialect.name == "sqlite" and give_back_pages(connection)


def for_migrating(engine: Engine) -> Engine:
    """Return the same engine for transactions that change tables, one at a time among all processes."""
    return sqlite_for_writing(engine) if engine.name == "sqlite" else postgresql_for_migrating(engine)
