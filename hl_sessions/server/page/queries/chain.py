"""The sessions of one conversation before and after a session."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from hl_sessions.server.database.tables import sessions

_MOST_SHOWN: Final = 10
"""The number of following sessions that are shown; a conversation normally has one."""


class Chain(NamedTuple):
    """The neighbours of a session in its conversation.

    Args:
        previous: The ID of the session before it; ``None`` if there is none, or it was deleted.
        following: The IDs of the sessions that name it as the one before them, oldest first.
    """

    previous: str | None
    following: Sequence[str]


def find_chain(
    connection: Connection, organisation_id: int, session_id: str, previous_id: str | None
) -> Chain:
    """Find the sessions of the organisation before and after one, which has named ``previous_id``."""
    of_organisation = sessions.c.organisation_id == organisation_id
    previous = None
    if previous_id is not None:
        previous = connection.scalar(
            select(sessions.c.id).where(sessions.c.id == previous_id, of_organisation)
        )
    following = (
        select(sessions.c.id)
        .where(sessions.c.previous_id == session_id, of_organisation)
        .order_by(sessions.c.sequence)
        .limit(_MOST_SHOWN)
    )
    return Chain(previous, connection.scalars(following).all())
