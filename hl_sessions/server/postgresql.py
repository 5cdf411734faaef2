"""What PostgreSQL alone needs: its driver, and reads that all see the same state."""

from typing import Final

from sqlalchemy import URL, Engine, create_engine

from hl_sessions.server.tables import json_for_database

_CONNECT_TIMEOUT: Final = 3  # seconds


def create_postgresql_engine(url: URL, connections: int) -> Engine:
    """Make an engine for a PostgreSQL database.

    Connections are not tried out before each use, which would cost a round trip: when one turns out to be
    broken, all of that age are replaced, and what failed is done again.

    Args:
        url: An SQLAlchemy URL.
        connections: How many are kept open, at most.
    """
    # SQLAlchemy's messages would carry the payloads of a failed statement into the log.
    return create_engine(
        url,
        hide_parameters=True,
        json_serializer=json_for_database,
        pool_size=connections,
        max_overflow=0,
        connect_args={"connect_timeout": _CONNECT_TIMEOUT, "application_name": "hl-sessions"},
    )


def postgresql_for_reading(engine: Engine) -> Engine:
    """Give the same engine with transactions that read one snapshot."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
