"""The session of the scope that the caller runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hl_sessions.sessions import context

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    from hl_sessions.sessions.session import Session

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

#: Return the handle of the innermost scope, ``None`` outside every scope.
innermost_session = cast("Callable[[], Session | None]", context.innermost)
#: Make a handle the current one, and return the token that :func:`leave_session` takes.
enter_session = cast("Callable[[Session | None], Token[Session | None]]", context.enter)
#: Restore the former handle; a ``ValueError`` in another context than that of :func:`enter_session`.
leave_session = cast("Callable[[Token[Session | None]], None]", context.leave)

#: Not empty once a scope may have been left in another context than it was entered in, such as when another
#: task closes a generator. The handle stays in the context of the entry, where it must not be current.
strays: list[bool] = []


def not_left(session: Session | None) -> Session | None:
    """Return ``session``, or if it is a stray the session that was current before it."""
    while session is not None and hasattr(session, "_left_for"):
        session = session._left_for
    return session


def current_session() -> Session | None:
    """Return the handle of the current session, ``None`` outside every scope; never touches the network."""
    session = innermost_session()
    return not_left(session) if strays else session


def current_session_id(*, create: bool = True) -> str | None:
    """Return the ``sesh_...`` ID of the current session.

    The first read in a scope creates the session. Later reads return the ID from memory.

    Args:
        create: ``False``: return the ID only if there is one already, without any network.

    Returns:
        The ID. ``None`` outside every scope, and if the session could not be created.

    Raises:
        HLSessionsError: the session could not be created, and its manager has ``on_error="raise"``.
    """
    session = innermost_session()
    if strays:
        session = not_left(session)
    if session is None:
        return None
    session_id = session._id
    return session_id if session_id is not None or not create else session.id


async def acurrent_session_id(*, create: bool = True) -> str | None:
    """Return the ID like :func:`current_session_id`, while the event loop (asyncio or trio) keeps running."""
    session = innermost_session()
    if strays:
        session = not_left(session)
    if session is None:
        return None
    session_id = session._id
    return session_id if session_id is not None or not create else await session.aid()
