"""A conversation between two of its ends, for datapoints that are sent after the second end."""

from __future__ import annotations

from hl_sessions.stores.base import new_reference_id

__all__ = ["Episode"]


class Episode:
    """A conversation of this process from one of its ends to the next.

    Attributes:
        is_over: whether the second end has come.
        reference_id: the reference ID for sessions that had no ID by then.
    """

    __slots__ = ("__weakref__", "is_over", "reference_id")

    def __init__(self) -> None:
        self.is_over = False
        self.reference_id = new_reference_id()
