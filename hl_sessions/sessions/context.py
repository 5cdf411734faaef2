"""The one context variable: what is current for the caller."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

__all__ = ["Current", "enter", "innermost", "leave"]


class Current(Protocol):
    """What can be current."""

    def _leave(self) -> None:
        """Note that the scope which opened it is left."""


_current: ContextVar[Current | None] = ContextVar("hl_sessions.session", default=None)

# Methods of an imported name are looked up slowly on each call; these are on the path of every request.
#: Return what is current in the innermost scope, ``None`` outside every scope.
innermost = _current.get
#: Make something current, and return the token that :func:`leave` takes.
enter = _current.set
#: Put back what was there; a ``ValueError`` in another context than that of :func:`enter`.
leave = _current.reset
