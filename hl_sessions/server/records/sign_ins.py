"""The sign-ins to the page: rows with hashes of cookies instead of the cookies."""

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from hl_sessions.server.database.tables import sign_ins


def create_sign_in(
    connection: Connection, hash_: str, key_id: str, now: datetime, expires_at: datetime
) -> None:
    """Store a sign-in until it expires or is deleted, and delete expired ones.

    Args:
        connection: The connection of the transaction.
        hash_: The hash of the cookie.
        key_id: The ID of the key that was used to sign in.
        now: The time now.
        expires_at: The time when it expires.
    """
    connection.execute(delete(sign_ins).where(sign_ins.c.expires_at <= now))
    connection.execute(insert(sign_ins).values(hash=hash_, key_id=key_id, expires_at=expires_at))


def is_signed_in(connection: Connection, hash_: str, now: datetime) -> bool:
    """Tell whether there is a sign-in with this hash that has not expired."""
    query = select(sign_ins.c.hash).where(sign_ins.c.hash == hash_, sign_ins.c.expires_at > now)
    return connection.scalar(query) is not None


def delete_sign_in(connection: Connection, hash_: str) -> None:
    """Delete a sign-in, if it exists."""
    connection.execute(delete(sign_ins).where(sign_ins.c.hash == hash_))
