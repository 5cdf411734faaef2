"""What PostgreSQL alone needs: its driver, reads that all see the same state, one writer at a time."""

from contextlib import suppress
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event

from hl_sessions.server.database.retrying import PATIENCE
from hl_sessions.server.database.tables import json_for_database

_CONNECT_TIMEOUT: Final = 3  # seconds
_CANCEL_TIMEOUT: Final = 3  # seconds
_STATEMENT_TIMEOUT: Final = "postgresql_statement_timeout"
_WRITES: Final = "postgresql_writes"
_WRITERS_LOCK: Final = 5_487_123_907_321
"""Any number that nobody else who uses the database locks."""


def create_postgresql_engine(url: URL, connections: int) -> Engine:
    """Make an engine for a PostgreSQL database.

    Connections are not tried out before each use, which would cost a round trip: when one turns out to be
    broken, all of that age are replaced, and what failed is done again.

    Args:
        url: An SQLAlchemy URL.
        connections: How many are kept open, at most.
    """
    engine = create_engine(
        url,
        # SQLAlchemy's messages would carry the payloads of a failed statement into the log.
        hide_parameters=True,
        json_serializer=json_for_database,
        pool_size=connections,
        max_overflow=0,
        connect_args={"connect_timeout": _CONNECT_TIMEOUT, "application_name": "hl-sessions"},
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def postgresql_for_reading(engine: Engine, longest: float | None) -> Engine:
    """Give the same engine with transactions that read one snapshot.

    Args:
        engine: The engine.
        longest: Seconds after which PostgreSQL ends a statement; ``None``: never.
    """
    return engine.execution_options(
        isolation_level="REPEATABLE READ", postgresql_readonly=True, **{_STATEMENT_TIMEOUT: longest}
    )


def postgresql_for_writing(engine: Engine) -> Engine:
    """Give the same engine with transactions that wait for those of all processes that write.

    So nobody else takes a name between looking for it and using it, no two transactions wait for each other,
    and rows appear in their order. What that costs is little, as waiting writes share a transaction.
    """
    return engine.execution_options(**{_WRITES: True})


def cancel_statement(driver_connection: Any) -> None:
    """End the statement that a connection runs on another thread, if it can be done soon."""
    from psycopg import Error

    # Where it cannot, the statement ends by its own time limit.
    with suppress(Error):
        driver_connection.cancel_safe(timeout=_CANCEL_TIMEOUT)


def _configure(connection: Any, _record: object) -> None:
    # Moments come in the time zone of the session, and the driver cannot read one that falls into the year 0
    # or 10000 there. Not as a connection parameter, which would take the place of the URL's own options.
    connection.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get(_STATEMENT_TIMEOUT) is not None:
        # For this transaction alone: behind a pooler the session is that of others too.
        milliseconds = f"{options[_STATEMENT_TIMEOUT] * 1000:.0f}"
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
    if options.get(_WRITES):
        connection.exec_driver_sql(
            "SELECT set_config('lock_timeout', %(milliseconds)s, true), pg_advisory_xact_lock(%(lock)s)",
            {"milliseconds": f"{PATIENCE * 1000:.0f}", "lock": _WRITERS_LOCK},
        )
