"""The handles of sessions that may belong to a conversation."""

from __future__ import annotations

import time
import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from hl_sessions.conversations.telling import ended_now
from hl_sessions.errors import APIConnectionError
from hl_sessions.process.reentry import creating, is_creating
from hl_sessions.process.waits import Blocking
from hl_sessions.sessions.creation import Obtained, agreement
from hl_sessions.sessions.session import Session, SessionSource, warn_that_a_read_blocked

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from hl_sessions.client.deadline import Deadline
    from hl_sessions.conversations.episode import Episode
    from hl_sessions.errors import HLSessionsError
    from hl_sessions.stores.base import Conversation

__all__ = [
    "ConversationSession",
    "ConversationSource",
    "RequestReader",
    "RequestSession",
    "request_session_type",
]


class Conversations(Protocol):
    """The conversations of a manager, as far as a handle needs them."""

    #: Whether a conversation without uses is over after some time.
    become_idle: bool
    #: Whether a call of the store may wait.
    is_blocking: bool
    create: Callable[[Deadline, Mapping[str, Any]], Coroutine[Any, Any, str]]

    def known(self, session: ConversationSession) -> Conversation | None:
        """Return the conversation in the store, ``None`` if there is none, or the store rests."""

    async def obtain_id(self, session: ConversationSession, deadline: Deadline) -> Obtained:
        """Return the ID of the conversation's session, which is created if there is none."""

    def reference_id(self, session: ConversationSession, *, may_ask: bool) -> str:
        """Return the reference ID of the conversation, from the store if that may be asked."""

    def leave(self, session: ConversationSession) -> None:
        """Note the end of a scope."""

    def end(self, conversation_key: str, told: Mapping[str, Any]) -> None:
        """End a conversation; ``told`` are the fields for the API, if the store has a session."""

    def has_ended(self, session: ConversationSession) -> bool:
        """Whether the conversation was ended since the scope was entered."""

    def episode(self, conversation_key: str) -> Episode:
        """Return the episode of the conversation until its next end in this process."""

    async def former(self, session: ConversationSession, episode: Episode) -> Conversation | None:
        """Return what the store had at the end of an episode; ``None``: nothing, or the store fails.

        Raises:
            APIConnectionError: no thread can be started to ask the store in.
        """


class ConversationSource(SessionSource, Protocol):
    """A manager, as far as the handle of a conversation needs it."""

    @property
    def conversations(self) -> Conversations:
        """The conversations of the manager."""


class ConversationSession(Session):
    """The session of a scope with a conversation key."""

    manager: ConversationSource
    _conversations: Conversations
    _entered: float
    _ended = False
    _left = False
    _is_counted = False
    #: The conversation in the store when its ID was read.
    _conversation: Conversation | None = None
    #: The episode in which a datapoint was logged while there was no ID.
    _episode: Episode | None = None

    def __init__(self, manager: ConversationSource, key: str) -> None:
        self.manager = manager
        self._conversations = manager.conversations
        self._key = key
        self._entered = time.monotonic()

    @property
    def key(self) -> str | None:
        """The conversation key."""
        return self._key or None

    @property
    def previous_id(self) -> str | None:
        """The ID of the conversation's session before this one; ``None``: none, or not known yet."""
        return None if self._conversation is None else self._conversation.previous_id

    def end(self) -> None:
        """End the conversation: the next scope with the same key starts a new session.

        This handle keeps its ID, or gets that of the ended conversation. If that had no session, it gets a
        session of its own at the first read. If there is a session, the API is told the time of its end.
        """
        if self.key is not None:
            if self._id is None:
                self._note_episode()
            is_begun = not self._ended and (self._id is not None or self._is_logged)
            ended, told = ended_now(), self._told()
            set_here = {} if told is None or self._ended else told.fields
            self._ended = True
            self._conversations.end(self.key, {} if is_begun else {**set_here, **ended})
            if is_begun:
                self.manager.tell(self, ended)

    def _decides(self) -> bool:
        return True

    def _is_over(self) -> bool:
        """Whether the conversation was ended since this scope was entered, by any handle."""
        return self._ended or self._conversations.has_ended(self)

    def _leave(self) -> None:
        if self._conversations.become_idle:
            self._left = True
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
            kept = self._keep(conversation.session_id)
        self._tell()
        return kept

    def _read(self) -> str | None:
        # A known conversation costs one call of the store, and none of the steps of a creation.
        if not self._conversations.is_blocking or is_creating():
            return super()._read()
        session_id = self._ready_id(may_wait=True)
        if session_id is None:
            return super()._read()
        warn_that_a_read_blocked()
        return session_id

    def _known_reference_id(self) -> str | None:
        """Return the reference ID, if the ID or the reference ID was read before."""
        if self._conversation is not None:
            return self._conversation.reference_id
        return None if self._details is None else self._details.reference_id

    async def obtain_log_params(self) -> dict[str, str]:
        """Return the fields that name the session that was current at the log call.

        If the conversation was ended before there was a session, all its datapoints name the same reference
        ID, as the next conversation has another session.
        """
        episode = self._ended_episode()
        if self._id is None and episode is not None:
            await self._find_former(episode)
            if self._id is None and episode.logged is not None:
                self._log_by_reference()
        return await super().obtain_log_params()

    async def _find_log_params(self) -> dict[str, str] | None:
        if self._id is None and self._ended_episode() is None:
            await Blocking(partial(self._ready_id, may_wait=True))
        return await super()._find_log_params()

    def _may_be_found(self) -> bool:
        if self.key is None or self._ended:
            return super()._may_be_found()
        self._note_episode()
        return True

    def _note_log(self) -> None:
        self._note_episode()
        episode = self._episode
        if episode is not None and episode.logged is None and not episode.is_over:
            episode.logged = weakref.ref(self)
        super()._note_log()

    def _note_episode(self) -> None:
        if self._key and not self._ended and self._episode is None:
            self._episode = self._conversations.episode(self._key)

    def _ended_episode(self) -> Episode | None:
        """Return the episode in which something was logged or told without an ID, if it is over."""
        return self._episode if self._episode is not None and self._episode.is_over else None

    def _find_reference_id(self) -> str:
        if self._conversation is not None:
            return self._conversation.reference_id
        episode = self._ended_episode()
        if episode is not None:
            return episode.reference_id
        if not self._key or self._ended:
            return super()._find_reference_id()
        # Inside a creation, the caller may be a logging handler, for a record of the store itself.
        reference_id = self._conversations.reference_id(self, may_ask=not is_creating())
        if not is_creating():
            self.manager.report()
        if self._conversations.is_blocking:
            warn_that_a_read_blocked()
        return reference_id

    def _keep_reference_id(self, reference_id: str) -> str:
        kept = super()._keep_reference_id(reference_id)
        if self._episode is not None and not self._episode.is_over:
            self._episode.reference_id = kept  # a row of the spool may name the session by it
        return kept

    def _learn_reference_id(self) -> str:
        is_current = self._key and not self._ended and self._ended_episode() is None
        if is_current and self._known_reference_id() is None:
            self._keep_reference_id(self._conversations.reference_id(self, may_ask=True))
        return self.reference_id

    async def _alearn_reference_id(self) -> None:
        if self._conversations.is_blocking and self._key and self._known_reference_id() is None:
            with suppress(APIConnectionError):  # no thread can be started
                await self.manager.workers.run(getattr, self, "reference_id")

    def _refusal(self) -> HLSessionsError | None:
        if self._key and self._conversations.is_blocking and not self._ended:
            return None  # the store may have the ID
        return super()._refusal()

    async def _find_former(self, episode: Episode) -> Conversation | None:
        """Become the session that the conversation had at the end of an episode, if it had one."""
        former = await self._conversations.former(self, episode)
        if former is not None:
            with agreement.lock:
                if self._id is None:
                    self._conversation = former
                self._keep(former.session_id)
            self._tell()
        return former

    async def _create_id(self, deadline: Deadline) -> Obtained:
        episode = self._ended_episode()
        if episode is not None:
            former = await self._find_former(episode)
            if former is not None:
                return Obtained(former.session_id, is_created=False)
            if episode.logged is not None:
                told = {**self._take_along(), "reference_id": episode.reference_id}
                return Obtained(await self.manager.create_session_id(deadline, told), is_created=True)
        if not self._key or self._ended:
            return await super()._create_id(deadline)
        return await self._conversations.obtain_id(self, deadline)


class RequestReader(Protocol):
    """Reads the session ID and the conversation key of a request; its methods never raise."""

    #: Whether requests may have a conversation.
    has_conversations: bool
    #: Whether the session ID of a request is looked up at the first read, not when the handle is made.
    looks_for_ids: bool
    #: Whether the conversation key may change when the application has found the route.
    needs_route: bool

    def named_id(self, session: RequestSession, scope: Any) -> str | None:
        """Return the session ID that the request names, ``None`` if there is none, or it is not trusted."""

    def conversation_key(self, session: RequestSession, scope: Any) -> str | None:
        """Return the conversation key, ``None`` if there is none."""


class _NamedID:
    """The descriptor for the ID of a handle that keeps none yet: the ID that its request names.

    It has no ``__set__``, so the ID that a handle keeps hides it, and is read as fast as any attribute.
    """

    def __get__(self, session: RequestSession | None, owner: object = None) -> str | None:
        return None if session is None else session._named_id()


class RequestSession(ConversationSession):
    """The session of a request. Its ID and its key are looked up in the request at the first read.

    A handle is made for every request, and most are never read. So handles are of the classes of
    :func:`request_session_type`, which have no constructor: the middleware sets the request, and the time of
    its entry.
    """

    _reader: RequestReader
    _scope: Any  # the scope or environment of the request; dropped after the look-up, as it may hold this
    _body = b""
    _scheme: str | None
    #: The conversation key from a coroutine function, found before the application ran.
    _awaited_key: str | None = None
    #: The session ID that the request names; empty: there is none; ``None``: not looked up yet.
    _named: str | None
    _is_key_found: bool

    @property
    def key(self) -> str | None:
        """The conversation key, ``None`` if the request has none, or its route is not known yet."""
        return self._found_key(is_final=False)

    def end(self) -> None:
        """End the conversation of the key that is known by now, which stays that of the request."""
        if self.key is not None:
            self._found_key(is_final=True)
        super().end()

    def _begin_in_background(self) -> None:
        """Create the session in the background, unless its key needs the route, which is not known yet."""
        if self._is_key_found or not self._reader.needs_route:
            super()._begin_in_background()

    def _decides(self) -> bool:
        return self._reader.has_conversations or self._named_id() is not None

    def _is_over(self) -> bool:
        self._found_key(is_final=True)
        return super()._is_over()

    def _join(self, session_id: str) -> None:
        """Become the session that the request names, which has no conversation."""
        self._named = session_id
        self._keep(session_id)
        self._tell()

    def _named_id(self) -> str | None:
        scope = self._scope
        if self._named is None:
            # In one step: the first look-up counts, as the ID may not be trusted later.
            self.__dict__.setdefault("_named", self._reader.named_id(self, scope) or "")
            if self._named:
                self._keep(self._named)
                self._tell()
        return self._named or None

    def _ready_id(self, *, may_wait: bool = False) -> str | None:
        if self._found_key(is_final=True) is not None:
            return super()._ready_id(may_wait=may_wait)
        ready_sessions = self.manager.ready_sessions
        is_free = self._is_key_found and (self._details is None or self._details.creation is None)
        return ready_sessions.take(self._keep_ready) if is_free and ready_sessions is not None else None

    def _keep(self, session_id: str) -> str:
        # In one step, as readers that take a ready ID hold no lock.
        kept: str = self.__dict__.setdefault("_id", session_id)
        return kept

    def _find_reference_id(self) -> str:
        self._found_key(is_final=True)
        return super()._find_reference_id()

    def _found_key(self, *, is_final: bool) -> str | None:
        scope = self._scope
        if not self._is_key_found and not is_creating():  # the look-up itself may log, and a handler may read
            with creating():
                key = None if self._named_id() is not None else self._reader.conversation_key(self, scope)
            with agreement.lock:
                if not self._is_key_found:
                    if not is_final and (key is None or self._reader.needs_route):
                        return key  # not final yet
                    self._key, self._is_key_found, self._scope = key or "", True, None
        return self._key or None


def request_session_type(
    kind: type[RequestSession], manager: ConversationSource, reader: RequestReader, **attributes: object
) -> Callable[[], RequestSession]:
    """Return the class of the handles of one middleware and one manager, which is called without an argument.

    Args:
        kind: the base class.
        manager: the manager.
        reader: reads the ID and the key of a request.
        attributes: further attributes of the class.
    """
    common = {
        "__doc__": kind.__doc__,
        "__init__": object.__init__,
        "manager": manager,
        "_conversations": manager.conversations,
        "_reader": reader,
        "_id": _NamedID() if reader.looks_for_ids else None,
        "_named": None if reader.looks_for_ids else "",
        "_is_key_found": not reader.has_conversations,
    }
    return type(kind.__name__, (kind,), common | attributes)
