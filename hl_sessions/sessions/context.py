"""The context variables: the current session, and the datapoint that goes along with it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

__all__ = ["SESSION", "Current", "along", "current", "enter", "innermost", "leave"]

#: The key of the session in the ASGI scope or WSGI environment of a request.
SESSION = "hl_sessions.session"


class Current(Protocol):
    """A session, as far as the context variable knows it."""

    #: Whether a function was bound to the session.
    _is_bound: bool

    def _leave(self) -> None:
        """Note that the scope which opened the session is left."""


#: The session of the innermost scope, ``None`` outside every scope.
current: ContextVar[Current | None] = ContextVar("hl_sessions.session", default=None)

#: The open datapoint, under which others are nested: it goes along with the session that is bound.
along: ContextVar[Any] = ContextVar("hl_sessions.datapoint", default=None)

# Methods of an imported name are looked up slowly on each call; these are on the path of every request.
#: Return the session of the innermost scope, ``None`` outside every scope.
innermost = current.get
#: Make a session current, and return the token that :func:`leave` takes.
enter = current.set
#: Restore the former session; a ``ValueError`` in another context than that of :func:`enter`.
leave = current.reset
