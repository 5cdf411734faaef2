"""The neighbours of a session, in the order of the list."""

from dataclasses import dataclass

from sqlalchemy import Connection

from hl_sessions.server.finding.filters import Cursor, SessionFilter
from hl_sessions.server.finding.session_search import find_sessions


@dataclass(frozen=True)
class Neighbours:
    """The IDs of the neighbours of a session in the list; ``None`` at its ends."""

    newer: str | None
    older: str | None


def find_neighbours(
    connection: Connection, organisation_id: int, session_id: str, wanted: SessionFilter
) -> Neighbours:
    """Find the sessions on both sides of one.

    Raises:
        UnknownCursorError: When the organisation has no session of this ID.
    """
    return Neighbours(
        newer=find_beside(connection, organisation_id, Cursor(after=session_id), wanted),
        older=find_beside(connection, organisation_id, Cursor(before=session_id), wanted),
    )


def find_beside(
    connection: Connection, organisation_id: int, cursor: Cursor, wanted: SessionFilter
) -> str | None:
    """Find the session on one side of the cursor.

    Raises:
        UnknownCursorError: When the organisation has no session of the ID of the cursor.
    """
    ids = find_sessions(connection, organisation_id, wanted, cursor, size=1).ids
    return ids[0] if ids else None
