"""The handles of sessions that may belong to a conversation."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from hl_sessions.errors import APIConnectionError
from hl_sessions.process.reentry import creating, is_creating
from hl_sessions.sessions.creation import agreement
from hl_sessions.sessions.session import Session, SessionSource, warn_that_a_read_blocked

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hl_sessions.client.deadline import Deadline
    from hl_sessions.errors import HLSessionsError
    from hl_sessions.stores.base import Conversation

__all__ = ["ConversationSession", "ConversationSource", "RequestSession"]


class Conversations(Protocol):
    """What a handle needs of the conversations of its manager."""

    #: Whether a conversation that nobody uses is over at some time.
    become_idle: bool
    #: Whether asking for a conversation needs waiting.
    is_blocking: bool
    create: Callable[[Deadline], Coroutine[Any, Any, str]]

    def known(self, session: ConversationSession) -> Conversation | None:
        """Return what the store keeps of the conversation, ``None`` if it has nothing, or is left alone."""

    async def obtain_id(self, session: ConversationSession, deadline: Deadline) -> str:
        """Return the ID of the conversation, of a session created for it where there is none."""

    def reference_id(self, session: ConversationSession) -> str:
        """Return the reference ID of the conversation."""

    def leave(self, session: ConversationSession) -> None:
        """Note the end of a scope."""

    def end(self, conversation_key: str) -> None:
        """End a conversation."""

    def has_ended(self, session: ConversationSession) -> bool:
        """Whether the conversation was ended since the scope was entered."""


class ConversationSource(SessionSource, Protocol):
    """What the handle of a conversation needs of its manager."""

    @property
    def conversations(self) -> Conversations:
        """The conversations of the manager."""


class ConversationSession(Session):
    """The session of a scope with a conversation key."""

    __slots__ = (
        "_conversation",
        "_conversations",
        "_ended",
        "_entered",
        "_is_counted",
        "_key",
        "_left",
        "manager",
    )

    def __init__(self, manager: ConversationSource, key: str | None) -> None:
        self.manager = manager
        self._conversations = manager.conversations
        self._key = key or ""  # none has an empty one
        self._entered = time.monotonic()
        self._ended = False
        self._left = False
        self._is_counted = False
        #: What was kept of the conversation when its ID was read.
        self._conversation: Conversation | None = None

    @property
    def key(self) -> str | None:
        """The conversation key."""
        return self._key or None

    @property
    def previous_id(self) -> str | None:
        """The ID of the conversation's session before this one, once this one has an ID; ``None``: none."""
        return None if self._conversation is None else self._conversation.previous_id

    def end(self) -> None:
        """End the conversation: the next scope with the same key starts a new session.

        This handle keeps its ID; one that has none yet gets a session of its own when it is read.
        """
        if self.key is not None:
            self._ended = True
            self._conversations.end(self.key)

    def _is_over(self) -> bool:
        """Whether the conversation was ended since this scope was entered, by whatever handle."""
        return self._ended or self._conversations.has_ended(self)

    def _leave(self) -> None:
        self._left = True
        if self._conversations.become_idle:
            self._conversations.leave(self)

    def _ready_id(self, *, may_wait: bool = False) -> str | None:
        conversations = self._conversations
        if not self._key or self._ended or (conversations.is_blocking and not may_wait):
            return None
        conversation = conversations.known(self)
        if conversation is None:
            return None
        with agreement.lock:
            if self._id is None:
                self._conversation = conversation
            return self._keep(conversation.session_id)

    def _read(self) -> str | None:
        # A conversation that is known costs one look into the store, and nothing of what a creation needs.
        if not self._conversations.is_blocking or is_creating():
            return super()._read()
        session_id = self._ready_id(may_wait=True)
        if session_id is None:
            return super()._read()
        warn_that_a_read_blocked()
        return session_id

    def _known_reference_id(self) -> str | None:
        """The reference ID of the conversation that was read, or whose reference ID was asked for."""
        if self._conversation is not None:
            return self._conversation.reference_id
        return None if self._details is None else self._details.reference_id

    def _find_reference_id(self) -> str:
        if self._conversation is not None:
            return self._conversation.reference_id
        if not self._key or self._ended:
            return super()._find_reference_id()
        reference_id = self._conversations.reference_id(self)
        if not is_creating():
            self.manager.report()
        if self._conversations.is_blocking:
            warn_that_a_read_blocked()
        return reference_id

    async def _alearn_reference_id(self) -> None:
        if self._conversations.is_blocking and self._key and self._known_reference_id() is None:
            with suppress(APIConnectionError):  # there is no thread
                await self.manager.workers.run(getattr, self, "reference_id")

    def _refusal(self) -> HLSessionsError | None:
        if self._key and self._conversations.is_blocking and not self._ended:
            return None  # the store may know
        return super()._refusal()

    async def _create_id(self, deadline: Deadline) -> str:
        if not self._key or self._ended:
            return await super()._create_id(deadline)
        return await self._conversations.obtain_id(self, deadline)


class RequestSession(ConversationSession):
    """The session of a request; its conversation is found when it is needed, as a router has to run first.

    Args:
        manager: the manager of the scope.
        find_key: returns the conversation key, ``None`` where there is none; does not raise.
    """

    __slots__ = ("_find_key",)

    def __init__(self, manager: ConversationSource, find_key: Callable[[], str | None]) -> None:
        super().__init__(manager, None)
        self._find_key: Callable[[], str | None] | None = find_key

    @property
    def key(self) -> str | None:
        """The conversation key, ``None`` where the request has none, or its route is not known yet."""
        return self._found_key(is_final=False)

    def _ready_id(self, *, may_wait: bool = False) -> str | None:
        return super()._ready_id(may_wait=may_wait) if self._found_key(is_final=True) else None

    def _find_reference_id(self) -> str:
        self._found_key(is_final=True)
        return super()._find_reference_id()

    def _found_key(self, *, is_final: bool) -> str | None:
        find_key = self._find_key
        if find_key is not None and not is_creating():  # what finds it may read, as a logging handler does
            with creating():
                key = find_key()
            with agreement.lock:
                if self._find_key is not None and (is_final or key is not None):
                    self._key, self._find_key = key or "", None
        return self._key or None
