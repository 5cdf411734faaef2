"""Leases: they choose one process for work that only one needs to do, though two would do no harm."""

from datetime import datetime, timedelta, timezone
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from hl_sessions.server.database.tables import leases

_LONGEST: Final = timedelta(hours=1)
"""The longest lease. One that expires later was taken by a clock that was wrong, and holds nobody up."""


def hold_lease(connection: Connection, name: str, holder: str, duration: timedelta) -> bool:
    """Take or renew a lease of up to an hour, and tell whether this holder has it now, until it expires."""
    now = datetime.now(timezone.utc)
    taken = {"holder": holder, "expires_at": now + duration}
    # Both databases have the same syntax for it, but SQLAlchemy has a function for each.
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = (
        insert(leases)
        .values(name=name, **taken)
        .on_conflict_do_update(
            index_elements=[leases.c.name],
            set_=taken,
            where=(leases.c.holder == holder) | ~leases.c.expires_at.between(now, now + _LONGEST),
        )
    )
    return connection.execute(statement.execution_options(preserve_rowcount=True)).rowcount == 1
