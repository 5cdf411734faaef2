"""Organisations in the database, which own sessions, projects and datapoints."""

from datetime import datetime, timezone
from typing import Final

from sqlalchemy import Connection, insert, select

from hl_sessions.server.database.tables import organisations
from hl_sessions.server.protocol.identifiers import TEAM, new_identifier

DEFAULT_ORGANISATION: Final = "default"
"""The organisation of callers of an open server, and of the key from the settings."""


def find_organisation(connection: Connection, name: str) -> int | None:
    """Return the ID of the organisation with this name, or ``None``."""
    found: int | None = connection.scalar(
        select(organisations.c.sequence).where(organisations.c.name == name)
    )
    return found


def find_or_create_organisation(connection: Connection, name: str) -> int:
    """Return the ID of the organisation with this name, which is made on first use."""
    found = find_organisation(connection, name)
    if found is not None:
        return found
    values = {"team_id": new_identifier(TEAM), "name": name, "created_at": datetime.now(timezone.utc)}
    created: int = connection.execute(
        insert(organisations).values(values).returning(organisations.c.sequence)
    ).scalar_one()
    return created


def find_team(connection: Connection, organisation_id: int) -> str:
    """Return the ID that the protocol has for the team of an organisation."""
    team_id: str = connection.execute(
        select(organisations.c.team_id).where(organisations.c.sequence == organisation_id)
    ).scalar_one()
    return team_id
