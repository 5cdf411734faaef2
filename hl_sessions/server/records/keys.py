"""The keys of the organisations in the database, which has only hashes of them."""

from datetime import datetime, timezone
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any

from sqlalchemy import Connection, delete, func, insert, inspect, select, update

from hl_sessions.server.database.tables import keys, organisations, sign_ins
from hl_sessions.server.protocol.identifiers import KEY, new_identifier
from hl_sessions.server.records.organisations import find_or_create_organisation


def hash_of_key(key: str) -> str:
    """Return the hash of a key, which the database stores in its place.

    A fast hash without salt is right here. A key is 256 random bits, which cannot be guessed, unlike the
    passwords that slow hashes are made for.
    """
    return sha256(key.encode()).hexdigest()


def create_key(connection: Connection, name: str, organisation: str) -> str:
    """Create a key of the organisation, which is made on first use, and return it: it cannot be read later.

    Args:
        connection: The connection of the transaction.
        name: The name of the key.
        organisation: The name of the organisation.
    """
    key = f"hls_{token_urlsafe(32)}"
    values = {
        "id": new_identifier(KEY),
        "organisation_id": find_or_create_organisation(connection, organisation),
        "name": name,
        "hash": hash_of_key(key),
        "created_at": datetime.now(timezone.utc),
    }
    connection.execute(insert(keys).values(values))
    return key


def list_keys(connection: Connection) -> list[dict[str, Any]]:
    """Return all keys, oldest first: ``id``, ``name``, ``organisation``, ``created_at``, ``revoked_at``."""
    query = (
        select(
            keys.c.id,
            keys.c.name,
            organisations.c.name.label("organisation"),
            keys.c.created_at,
            keys.c.revoked_at,
        )
        .join(organisations, organisations.c.sequence == keys.c.organisation_id)
        .order_by(keys.c.sequence)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def revoke_key(connection: Connection, key_id: str) -> bool:
    """Revoke a key and its sign-ins for good, and tell whether there was such a valid key."""
    connection.execute(delete(sign_ins).where(sign_ins.c.key_id == key_id))
    change = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
    return connection.execute(change.values(revoked_at=datetime.now(timezone.utc))).rowcount == 1


def count_keys(connection: Connection) -> tuple[int, int]:
    """Return how many keys were ever made, and how many of them were revoked."""
    made, revoked = connection.execute(
        select(func.count(), func.count(keys.c.revoked_at)).select_from(keys)
    ).one()
    return made, revoked


def has_keys(connection: Connection) -> bool:
    """Tell whether a key was ever made; the tables may be missing, or those of an earlier version."""
    return (
        inspect(connection).has_table(keys.name) and connection.scalar(select(keys.c.id).limit(1)) is not None
    )


def valid_keys(connection: Connection) -> list[tuple[str, str, int, str]]:
    """Return ID, hash, organisation ID and name of each valid key."""
    query = select(keys.c.id, keys.c.hash, keys.c.organisation_id, keys.c.name).where(
        keys.c.revoked_at.is_(None)
    )
    return [(row.id, row.hash, row.organisation_id, row.name) for row in connection.execute(query)]
