"""The contract of conversation stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

__all__ = ["ConversationStore"]


class ConversationStore(ABC):
    """Keeps the session ID of each conversation, and who is creating one.

    Many threads, and for a store outside the process many processes, use it at the same time; each method
    is atomic. Times are those of one clock, the store's own. A key is any string up to about 2,300
    characters (a URL and a conversation key), to be taken literally.

    A creator asks :meth:`get`; where there is nothing it tries to :meth:`claim` the key, creates a session
    if it got the claim, and ends the claim with :meth:`save` or :meth:`release`. Who does not get the
    claim asks :meth:`get` again a little later. A creator that died is replaced when its lease is over.

    A method that fails raises; the conversation's scope then falls back to a session of its own.
    """

    #: Whether a method may have to wait, for a disk or a network: then it is not called on an event loop.
    blocking: ClassVar[bool] = True

    @abstractmethod
    def get(self, key: str, *, max_idle: float | None) -> str | None:
        """Give the session ID of a conversation.

        Args:
            key: the conversation.
            max_idle: seconds since it was last used after which a conversation is over; ``None``: never.
        """

    @abstractmethod
    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> bool:
        """Reserve the creation of a session for a conversation that has none.

        Args:
            key: the conversation.
            claimant: a string that no other claim has.
            lease: seconds after which the claim is void.
            max_idle: as for :meth:`get`.

        Returns:
            Whether it is reserved: not where :meth:`get` would give an ID, or another claim is valid.
        """

    @abstractmethod
    def save(self, key: str, claimant: str, session_id: str) -> bool:
        """End a claim with the session that was created, used just now.

        Returns:
            Whether it was kept: not where another claim has taken over, or the conversation was ended.
        """

    @abstractmethod
    def release(self, key: str, claimant: str) -> None:
        """End a claim without a session."""

    @abstractmethod
    def touch(self, key: str, session_id: str) -> None:
        """Note that a conversation was used just now, if this is still its session."""

    @abstractmethod
    def end(self, key: str) -> None:
        """Forget the session of a conversation, and every claim to create one."""

    def close(self) -> None:  # noqa: B027 - not every store has something to release
        """Release connections; called once, at the end."""
