"""The session of the scope that the caller runs in."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hl_sessions.session import Session

__all__ = [
    "acurrent_session_id",
    "current_session",
    "current_session_id",
    "enter_session",
    "innermost_session",
    "leave_session",
    "not_left",
    "strays",
]

_session: ContextVar[Session | None] = ContextVar("hl_sessions.session", default=None)

# Methods of an imported name are looked up slowly on each call; these are on the path of every request.
#: Gives the handle of the innermost scope, ``None`` outside every scope.
innermost_session = _session.get
#: Makes a handle the current one and gives the token that :func:`leave_session` takes.
enter_session = _session.set
#: Puts back what was there; a ``ValueError`` in another context than that of :func:`enter_session`.
leave_session = _session.reset

#: Not empty once a scope may have been left in another context than it was entered in, as when a generator
#: is closed by another task: its session stays behind where it was entered, and is current there no more.
strays: list[bool] = []


def not_left(session: Session | None) -> Session | None:
    """Give ``session``, or if it is a stray what was current before it."""
    while session is not None and hasattr(session, "_left_for"):
        session = session._left_for
    return session


def current_session() -> Session | None:
    """Give the handle of the current session, ``None`` outside every scope; never touches the network."""
    session = _session.get()
    return not_left(session) if strays else session


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
    session = _session.get()
    if strays:
        session = not_left(session)
    if session is None:
        return None
    session_id = session._id
    return session_id if session_id is not None or not create else session.id


async def acurrent_session_id(*, create: bool = True) -> str | None:
    """Give what :func:`current_session_id` gives, while the event loop (asyncio or trio) keeps running."""
    session = _session.get()
    if strays:
        session = not_left(session)
    if session is None:
        return None
    session_id = session._id
    return session_id if session_id is not None or not create else await session.aid()
