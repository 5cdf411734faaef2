"""A conversation between two of its ends, for datapoints that are sent after the second end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hl_sessions.stores.base import new_reference_id

if TYPE_CHECKING:
    import weakref

    from hl_sessions.sessions.session import Session
    from hl_sessions.stores.base import Conversation

__all__ = ["Episode"]


class Episode:
    """A conversation of this process from one of its ends to the next.

    Attributes:
        is_over: whether the second end has come.
        conversation: what the store had at the second end; ``None``: nothing, or the store is not told yet.
        logged: a handle that has logged in it without an ID; it is alive until its datapoints are sent.
        reference_id: the reference ID for sessions that had no ID by then.
    """

    __slots__ = ("__weakref__", "conversation", "is_over", "logged", "reference_id")

    def __init__(self) -> None:
        self.is_over = False
        self.conversation: Conversation | None = None
        self.logged: weakref.ref[Session] | None = None
        self.reference_id = new_reference_id()
