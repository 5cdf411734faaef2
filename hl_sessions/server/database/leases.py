"""What one process does at a time, however many there are: that which holds the lease of it.

A lease is a row, not a lock: it outlives transactions, and so works through a pooler.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select, update

from hl_sessions.server.database.tables import leases

_LONGEST: Final = timedelta(hours=1)
"""How long a lease lasts, at most: one beyond that was taken by a clock that went wrong."""

_NOBODY: Final = ""


def take_lease(connection: Connection, name: str, holder: str, now: datetime, time: timedelta) -> bool:
    """Take a lease, or hold it for longer, unless somebody else has it; nobody is waited for.

    Args:
        connection: The connection of a transaction that writes.
        name: What the lease is for.
        holder: Who wants it.
        now: The time now.
        time: For how long it is held, from now on.
    """
    query = (
        select(leases.c.holder, leases.c.expires_at)
        .where(leases.c.name == name)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(query).one_or_none()
    if found is None or (found.holder != holder and now < found.expires_at < now + _LONGEST):
        return False
    connection.execute(
        update(leases).where(leases.c.name == name).values(holder=holder, expires_at=now + time)
    )
    return True


def leave_lease(connection: Connection, name: str, holder: str, until: datetime) -> None:
    """Give up a lease; until some time nobody gets it.

    Args:
        connection: The connection of a transaction that writes.
        name: What the lease is for.
        holder: Who has it, unless it has expired.
        until: When it is to be had again.
    """
    is_held = (leases.c.name == name) & (leases.c.holder == holder)
    connection.execute(update(leases).where(is_held).values(holder=_NOBODY, expires_at=until))
