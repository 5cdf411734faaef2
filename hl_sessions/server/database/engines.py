"""SQLAlchemy engines, the same to their users whichever database is behind them."""

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
    others_wrote_to_sqlite,
    sqlite_for_writing,
)

READERS: Final = 4
"""How many reads of single records may run side by side."""

SCANNERS: Final = 2
"""How many searches and lists may run beside them."""

_CONNECTIONS: Final = READERS + SCANNERS + 4
"""Theirs, one for the small queries of the server itself, one that writes, and two for background work."""


def open_engine(url: URL) -> Engine:
    """Make the engine for a database; nothing is connected to yet."""
    if url.get_backend_name() == "sqlite":
        engine = create_sqlite_engine(url, _CONNECTIONS)
    else:
        engine = create_postgresql_engine(url, _CONNECTIONS)
    # Many rows are one statement: between two of them another thread takes over, and gives back late.
    engine.dialect.use_insertmanyvalues_wo_returning = True
    return engine


def for_reading(engine: Engine, longest: float | None = None) -> Engine:
    """Return the same engine with transactions whose statements all see the same state.

    Args:
        engine: The engine.
        longest: Seconds after which a database that is a server ends a statement; ``None``: never.
    """
    return engine if engine.name == "sqlite" else postgresql_for_reading(engine, longest)


def interrupt(engine: Engine, driver_connection: Any) -> None:
    """End the statement that a connection runs on another thread, if there is one; it raises there.

    Args:
        engine: Whose connection it is.
        driver_connection: The connection, as the driver has it.
    """
    if engine.name == "sqlite":
        driver_connection.interrupt()
    else:
        cancel_statement(driver_connection)


def for_writing(engine: Engine) -> Engine:
    """Return the same engine with transactions that write.

    Those on SQLite take turns among all processes; those on PostgreSQL run side by side.
    """
    return sqlite_for_writing(engine) if engine.name == "sqlite" else postgresql_for_writing(engine)


def others_wrote(connection: Connection) -> bool:
    """Tell whether others have written, where writers take turns, since this was last asked.

    Args:
        connection: The connection of a transaction that writes.
    """
    return connection.dialect.name == "sqlite" and others_wrote_to_sqlite(connection)


def give_back_space(connection: Connection) -> bool:
    """Give some of the space that is free in the database back to the disk.

    PostgreSQL does that by itself, as far as it can.

    Args:
        connection: The connection of a transaction that writes.

    Returns:
        Whether there is more to give back.
    """
    return connection.dialect.name == "sqlite" and give_back_pages(connection)


def for_migrating(engine: Engine) -> Engine:
    """Return the same engine with transactions that change tables, one at a time among all processes."""
    return sqlite_for_writing(engine) if engine.name == "sqlite" else postgresql_for_migrating(engine)
