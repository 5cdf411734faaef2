"""The session of the scope that the caller runs in."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hl_sessions.session import Session

__all__ = ["acurrent_session_id", "current_session", "current_session_id", "session_variable"]

#: The handle of the innermost scope. Whoever sets it puts back what was there.
session_variable: ContextVar[Session | None] = ContextVar("hl_sessions.session", default=None)


def current_session() -> Session | None:
    """Give the handle of the current session, ``None`` outside every scope; never touches the network."""
    return session_variable.get()


def current_session_id(*, create: bool = True) -> str | None:
    """Give the ``sesh_...`` ID of the current session.

    The first read in a scope creates the session, later ones answer from memory.

    Args:
        create: ``False`` gives the ID only if there is one already, without any network.

    Returns:
        The ID, or ``None``: outside every scope, and where the session could not be created.

    Raises:
        HLSessionsError: the session could not be created, and its manager has ``on_error="raise"``.
    """
    session = session_variable.get()
    if session is None:
        return None
    if session._id is not None or not create:
        return session._id
    return session.id


async def acurrent_session_id(*, create: bool = True) -> str | None:
    """Give what :func:`current_session_id` gives, while the event loop (asyncio or trio) keeps running."""
    session = session_variable.get()
    if session is None:
        return None
    if session._id is not None or not create:
        return session._id
    return await session.aid()
