"""Which process does what only one of all has to do, though no harm is done if two do."""

from datetime import datetime, timedelta, timezone

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from hl_sessions.server.database.tables import leases


def hold_lease(connection: Connection, name: str, holder: str, duration: timedelta) -> bool:
    """Take or renew a lease, and answer whether it is the holder's now: nobody else's before it expires."""
    now = datetime.now(timezone.utc)
    taken = {"holder": holder, "expires_at": now + duration}
    # Both databases have the same words for it, and SQLAlchemy one function for each.
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = (
        insert(leases)
        .values(name=name, **taken)
        .on_conflict_do_update(
            index_elements=[leases.c.name],
            set_=taken,
            where=(leases.c.holder == holder) | (leases.c.expires_at < now),
        )
    )
    return connection.execute(statement.execution_options(preserve_rowcount=True)).rowcount == 1
