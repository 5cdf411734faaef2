"""The context variables: what is current for the caller, and what else goes along with it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

__all__ = ["Current", "along", "current", "enter", "innermost", "leave"]


class Current(Protocol):
    """What can be current."""

    #: Whether a function was bound to it.
    _is_bound: bool

    def _leave(self) -> None:
        """Note that the scope which opened it is left."""


#: What is current in the innermost scope, ``None`` outside every scope.
current: ContextVar[Current | None] = ContextVar("hl_sessions.session", default=None)

#: What goes along with the session to where it is bound to: the datapoint that others are nested under.
along: ContextVar[Any] = ContextVar("hl_sessions.datapoint", default=None)

# Methods of an imported name are looked up slowly on each call; these are on the path of every request.
#: Return what is current in the innermost scope, ``None`` outside every scope.
innermost = current.get
#: Make something current, and return the token that :func:`leave` takes.
enter = current.set
#: Put back what was there; a ``ValueError`` in another context than that of :func:`enter`.
leave = current.reset
