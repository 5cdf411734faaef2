"""Who is signed in to the page: rows that hold no cookie, but only what proves one."""

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from hl_sessions.server.database.tables import sign_ins


def create_sign_in(
    connection: Connection, hash_: str, key_id: str, now: datetime, expires_at: datetime
) -> None:
    """Keep a sign-in until it expires or is deleted; those that have expired are deleted.

    Args:
        connection: The connection of the transaction.
        hash_: What the cookie can be told by.
        key_id: The ID of the key that was signed in with.
        now: The time now.
        expires_at: When it ends by itself.
    """
    connection.execute(delete(sign_ins).where(sign_ins.c.expires_at <= now))
    connection.execute(insert(sign_ins).values(hash=hash_, key_id=key_id, expires_at=expires_at))


def is_signed_in(connection: Connection, hash_: str, now: datetime) -> bool:
    """Tell whether there is a sign-in with this hash that has not expired."""
    query = select(sign_ins.c.hash).where(sign_ins.c.hash == hash_, sign_ins.c.expires_at > now)
    return connection.scalar(query) is not None


def delete_sign_in(connection: Connection, hash_: str) -> None:
    """End a sign-in, if there is one."""
    connection.execute(delete(sign_ins).where(sign_ins.c.hash == hash_))
