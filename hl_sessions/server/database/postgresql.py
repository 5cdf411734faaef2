"""The engine for PostgreSQL: its driver, and transactions that end even if their process freezes.

No setting, lock or prepared statement outlives a transaction. So a pooler may give a connection to another
client between two transactions.
"""

from contextlib import suppress
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError

from hl_sessions.server.database.retrying import longest_wait
from hl_sessions.server.database.tables import json_for_database

_MODE: Final = "postgresql_mode"
_LONGEST: Final = "postgresql_longest_statement"
_READING: Final = "reading"
_WRITING: Final = "writing"
_MIGRATING: Final = "migrating"

_CANCEL_TIMEOUT: Final = 3  # seconds
_MIGRATIONS_LOCK: Final = 5_487_123_907_321
"""The number of an advisory lock; no other program on the database may use it."""

_STOPPED_WRITER: Final = 3_000
"""Milliseconds of silence after which PostgreSQL ends a transaction that writes, and releases its locks.
Less than the time that other transactions wait for the same rows.
"""

_STOPPED_READER: Final = 600_000
"""The same for a transaction that reads and locks nothing: an export may wait for its reader."""

_STOPPED_MIGRATION: Final = 60_000
"""The same for a transaction that changes the tables, with much work between two statements."""

_LONGEST_STATEMENT: Final = 30_000
"""Milliseconds that a writing statement may take: far more than the largest group of writes needs."""

_CONNECTION: Final = {
    "connect_timeout": "3",  # seconds
    # With these limits of silence, in milliseconds or seconds, a broken network is noticed earlier than after
    # two hours.
    "tcp_user_timeout": "5000",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "application_name": "hl-sessions",
}
"""Parameters of libpq, which the URL may override. No pooler refuses them."""


def postgresql_url(url: URL) -> URL:
    """Return the URL in the form that ``create_postgresql_engine`` takes.

    Raises:
        ValueError: When it has an option twice, or one that PostgreSQL's client library does not know.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    # Many URLs for a pooler have this option. It turns off a feature of drivers that is never used here.
    url = url.set(drivername="postgresql+psycopg").difference_update_query(["prepare_threshold"])
    for name, value in url.query.items():
        # Several hosts are tried one after the other.
        if not isinstance(value, str) and name not in {"host", "port"}:
            raise ValueError(f"the database URL has the option {name!r} more than once")
        try:
            make_conninfo(**{name: ""})
        except ProgrammingError:
            raise ValueError(
                f"the database URL has the option {name!r}, which libpq, PostgreSQL's client, does not know"
            ) from None
    try:
        url.get_dialect()().create_connect_args(url)
    except ArgumentError:
        raise ValueError("the database URL has a port that is no number") from None
    return url


def create_postgresql_engine(url: URL, connections: int) -> Engine:
    """Make an engine for a PostgreSQL database.

    Connections are not tested before each use, because that would cost a round trip. When one turns out to be
    broken, all connections of its age are replaced, and the failed work is repeated.

    Args:
        url: An SQLAlchemy URL.
        connections: The greatest number of open connections.
    """
    engine = create_engine(
        url,
        # SQLAlchemy's messages would carry the payloads of a failed statement into the log.
        hide_parameters=True,
        json_serializer=json_for_database,
        pool_size=connections,
        max_overflow=0,
        # ``_begin`` begins transactions, and sets their time limits in the same round trip.
        isolation_level="AUTOCOMMIT",
        connect_args={
            **{name: value for name, value in _CONNECTION.items() if name not in url.query},
            # A statement that was prepared on one connection is unknown to the next one that a pooler
            # provides.
            "prepare_threshold": None,
        },
    )
    event.listen(engine, "begin", _begin)
    return engine


def postgresql_for_reading(engine: Engine, longest: float | None) -> Engine:
    """Return the same engine for transactions that read one snapshot.

    Args:
        engine: The engine.
        longest: Seconds after which PostgreSQL ends a statement; ``None``: never.
    """
    return engine.execution_options(**{_MODE: _READING, _LONGEST: longest})


def postgresql_for_writing(engine: Engine) -> Engine:
    """Return the same engine for transactions that write, in parallel with those of all processes.

    They lock only rows, and all in the same order: see ``bulk_insert`` and ``records.counts``.
    """
    return engine.execution_options(**{_MODE: _WRITING})


def postgresql_for_migrating(engine: Engine) -> Engine:
    """Return the same engine for transactions that change tables, one at a time among all processes."""
    return engine.execution_options(**{_MODE: _MIGRATING})


def cancel_statement(driver_connection: Any) -> None:
    """Stop the statement that a connection runs on another thread, if that is possible soon."""
    from psycopg import Error

    # Otherwise the statement ends by its own time limit.
    with suppress(Error):
        driver_connection.cancel_safe(timeout=_CANCEL_TIMEOUT)


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    mode, longest = options.get(_MODE, _READING), options.get(_LONGEST)
    # Points in time arrive in the time zone of the session, and the driver cannot read one that is in the
    # year 0 or 10000 there.
    settings: dict[str, str | int] = {"timezone": "'UTC'"}
    isolation = "READ COMMITTED"
    if mode != _MIGRATING:
        settings["lock_timeout"] = f"{1000 * longest_wait(connection):.0f}"
    if mode == _READING:
        isolation = "REPEATABLE READ READ ONLY"
        settings["idle_in_transaction_session_timeout"] = _STOPPED_READER
        if longest is not None:
            settings["statement_timeout"] = f"{1000 * longest:.0f}"
    elif mode == _WRITING:
        settings["idle_in_transaction_session_timeout"] = _STOPPED_WRITER
        settings["statement_timeout"] = _LONGEST_STATEMENT
    else:
        settings["idle_in_transaction_session_timeout"] = _STOPPED_MIGRATION
    statements = [f"BEGIN ISOLATION LEVEL {isolation}"]
    statements += [f"SET LOCAL {name} = {value}" for name, value in settings.items()]
    if mode == _MIGRATING:
        statements.append(f"SELECT pg_advisory_xact_lock({_MIGRATIONS_LOCK})")
    # Without parameters, so that the statements are sent as one message.
    connection.exec_driver_sql("; ".join(statements), execution_options={"no_parameters": True}).close()
