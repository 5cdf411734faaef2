"""Stores the members of the metadata of sessions for filters."""

from collections.abc import Collection, Iterator, Mapping
from math import isfinite
from typing import Any, Final, TypeAlias

from pydantic_core import to_json
from sqlalchemy import Connection, bindparam, delete, select

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import session_metadata, sessions

LONGEST: Final = 200
"""The greatest number of characters of an indexed key or value; longer ones are not found."""

Metadata: TypeAlias = Mapping[str, Any]

_SESSIONS: Final = select(sessions.c.id, sessions.c.sequence, sessions.c.organisation_id).where(
    sessions.c.id.in_(bindparam("wanted", expanding=True))
)
_FORGET: Final = delete(session_metadata).where(
    session_metadata.c.session_sequence.in_(
        select(sessions.c.sequence).where(sessions.c.id == bindparam("session_id"))
    )
)


def keep_metadata(connection: Connection, rows: Collection[Mapping[str, Any]]) -> None:
    """Store the metadata of new sessions, given as rows of their table."""
    told = {row["id"]: row["metadata"] for row in rows if row.get("metadata")}
    members: list[dict[str, Any]] = []
    for wanted in in_parts(sorted(told)):
        for session in connection.execute(_SESSIONS, {"wanted": wanted}):
            members += _members(session.sequence, session.organisation_id, told[session.id])
    if members:
        insert_rows(connection, session_metadata, members)


def replace_metadata(connection: Connection, session_id: str, told: Metadata) -> None:
    """Replace the metadata of a session."""
    connection.execute(_FORGET, {"session_id": session_id})
    keep_metadata(connection, [{"id": session_id, "metadata": told}])


def _members(sequence: int, organisation_id: int, told: Metadata) -> Iterator[dict[str, Any]]:
    for key, value in told.items():
        text, number = _text(value), _number(value)
        if len(key) <= LONGEST and (text is not None or number is not None):
            yield {
                "session_sequence": sequence,
                "organisation_id": organisation_id,
                "key": key,
                "text": text,
                "number": number,
            }


def _text(value: Any) -> str | None:
    text = value if isinstance(value, str) else to_json(value).decode()
    return None if value is None or len(text) > LONGEST else text


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None
