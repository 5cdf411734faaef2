"""Conversations: one session for all scopes that have the same key."""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
import uuid
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from hl_sessions.errors import APITimeoutError, HLSessionsError
from hl_sessions.event_loop import WorkerThreads, is_event_loop_running
from hl_sessions.fork import renew_after_fork
from hl_sessions.reentry import creating
from hl_sessions.session import Session, SessionSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from hl_sessions.outage import Reports
    from hl_sessions.stores import ConversationStore
    from hl_sessions.transport import Deadline

__all__ = ["ConversationKey", "ConversationSession", "ConversationSource", "Conversations", "checked_key"]

ConversationKey = str | int | uuid.UUID

MAX_KEY_LENGTH = 256  # characters
POLL_INTERVAL = 0.02  # seconds between looks for the session that another process is creating
MAX_ENDED = 10_000  # conversations whose end is remembered
LEASE_MARGIN = 1.0  # seconds that a claim outlives the creation it is for


def checked_key(key: object, name: str = "key") -> str:
    """Give a conversation key as a string.

    Raises:
        TypeError: it is not a ``str``, an ``int`` or a ``uuid.UUID``.
        ValueError: it is empty, longer than 256 characters, or not Unicode text.
    """
    if isinstance(key, int) and not isinstance(key, bool):
        if key.bit_length() > 4 * MAX_KEY_LENGTH:  # far too long; turning it into a string may be refused
            raise ValueError(f"{name} must have at most {MAX_KEY_LENGTH} characters")
        key = int.__repr__(key)
    elif isinstance(key, uuid.UUID):
        return str(key)
    if not isinstance(key, str):
        raise TypeError(f"{name} must be a str, an int or a uuid.UUID, not {type(key).__name__}")
    if not key:
        raise ValueError(f"{name} must not be empty; None means no key")
    if len(key) > MAX_KEY_LENGTH:
        raise ValueError(f"{name} must have at most {MAX_KEY_LENGTH} characters, not {len(key)}")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is not Unicode text: {error.reason}") from None
    return str.__str__(key)  # the text of an enum's member too, whatever str() would make of it


class ConversationSource(SessionSource, Protocol):
    """What the handle of a conversation needs of its manager."""

    conversations: Conversations


class ConversationSession(Session):
    """The session of a scope with a conversation key."""

    __slots__ = ("_conversations", "_ended", "_entered", "_is_counted", "_key", "_left", "manager")

    def __init__(self, manager: ConversationSource, key: str) -> None:
        self.manager = manager
        self._conversations = manager.conversations
        self._key = key
        self._entered = time.monotonic()
        self._ended = False
        self._left = False
        self._is_counted = False

    @property
    def key(self) -> str:
        """The conversation key."""
        return self._key

    def end(self) -> None:
        """End the conversation: the next scope with the same key starts a new session.

        This handle keeps its ID; one that has none yet gets a session of its own when it is read.
        """
        self._ended = True
        self._conversations.end(self._key)

    def _is_over(self) -> bool:
        """Whether the conversation was ended since this scope was entered, by whatever handle."""
        return self._ended or self._conversations.has_ended(self)

    def _leave(self) -> None:
        self._left = True
        self._conversations.leave(self)

    def _known_id(self) -> str | None:
        return None if self._ended else self._conversations.known_id(self)

    def _refusal(self) -> HLSessionsError | None:
        if self._conversations.is_blocking and not self._ended:
            return None  # as above
        return super()._refusal()

    def _create_id(self, deadline: Deadline) -> str:
        if self._ended:
            return self.manager.create_session_id(deadline)
        return self._conversations.obtain_id(self, deadline)


class Conversations:
    """The conversations of one manager, in its store.

    Args:
        store: where their session IDs are kept.
        base_url: that of the API; conversations of different APIs are kept apart.
        idle_timeout: seconds of idle time after which a conversation is over; ``None``: never.
        create: creates a session by a deadline.
        workers: threads for what an event loop cannot wait for.
        reports: where failures of the store are reported.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        base_url: str,
        idle_timeout: float | None,
        create: Callable[[Deadline], str],
        workers: WorkerThreads,
        reports: Reports,
    ) -> None:
        self._store = store
        self._prefix = base_url + "#"
        self._idle_timeout = idle_timeout
        self._create = create
        self._workers = workers
        self._reports = reports
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._creations: dict[str, Future[str | None]] = {}
        self._in_use: dict[str, int] = {}  # scopes of this process that have read the ID and are not left
        self._tellings: dict[str, _Telling] = {}  # what the store is being told in the background
        self._has_warned = False  # since the store last worked
        # When conversations were ended, for the scopes that are inside of one meanwhile.
        self._ended: OrderedDict[str, float] = OrderedDict()

    @property
    def is_blocking(self) -> bool:
        """Whether asking for a conversation needs waiting."""
        return self._store.blocking

    def known_id(self, session: ConversationSession) -> str | None:
        """Give the ID of a conversation if that needs no waiting."""
        if self.is_blocking:
            return None
        try:
            with creating():
                session_id = self._store.get(self._prefix + session.key, max_idle=self._max_idle(session))
        except Exception as error:  # noqa: BLE001 - a store must not break the application
            self._store_failed(error)
            return None
        if session_id is not None:
            self._count(session)
        return session_id

    def obtain_id(self, session: ConversationSession, deadline: Deadline) -> str:
        """Give the ID of a conversation, of a session created for it where there is none.

        Simultaneous callers with the same key get the same.
        """
        key = self._prefix + session.key
        while True:
            with self._lock:
                creation = self._creations.get(key)
                if creation is None:
                    mine = self._creations[key] = Future()
                    break
            session_id = creation.result()
            if session_id is not None:
                self._count(session)
                return session_id
        try:
            session_id = self._find_or_create(key, mine, session, deadline)
        except BaseException as error:
            self._forget(key, mine)
            if isinstance(error, Exception):
                mine.set_exception(error)
            else:  # only this caller was interrupted; one of those who wait goes on
                mine.set_result(None)
            raise
        self._count(session)
        self._forget(key, mine)
        mine.set_result(session_id)
        return session_id

    def leave(self, session: ConversationSession) -> None:
        """Note the end of a scope; from here on the conversation is idle if nobody else uses it."""
        with self._lock:
            if not session._is_counted:
                return
            session._is_counted = False
            others = self._in_use.pop(session.key, 1) - 1  # a forked child starts without counts
            if others:
                self._in_use[session.key] = others
        key, session_id = self._prefix + session.key, session.peek()
        if session_id is not None:
            self._tell(key, lambda: self._store.touch(key, session_id))

    def end(self, conversation_key: str) -> None:
        """End a conversation; who is waiting for its session still gets it."""
        key = self._prefix + conversation_key
        with self._lock:
            self._creations.pop(key, None)
            self._ended[conversation_key] = time.monotonic()
            self._ended.move_to_end(conversation_key)
            if len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)
        self._tell(key, lambda: self._store.end(key))

    def has_ended(self, session: ConversationSession) -> bool:
        """Whether the conversation of a scope was ended since it was entered, as far as remembered."""
        return self._ended.get(session.key, -math.inf) >= session._entered

    def _find_or_create(
        self, key: str, creation: Future[str | None], session: ConversationSession, deadline: Deadline
    ) -> str:
        claimant = uuid.uuid4().hex
        try:
            session_id = self._find_or_claim(key, session, claimant, deadline)
        except APITimeoutError as error:
            self._warn_once("%s", error)
            raise
        except Exception as error:  # noqa: BLE001 - a store that is down costs the conversation, not the session
            self._store_failed(error)
            return self._create(deadline)
        if session_id is not None:
            return session_id
        try:
            session_id = self._create(deadline)
        except BaseException:
            self._quietly(lambda: self._store.release(key, claimant))
            raise
        try:
            if self._store.save(key, claimant, session_id):
                self._has_warned = False
            elif self._creations.get(key) is creation:
                # Not ended here: somebody took over while this process stood still.
                session_id = self._store.get(key, max_idle=None) or session_id
        except Exception as error:  # noqa: BLE001 - as above
            self._store_failed(error)
            self._quietly(lambda: self._store.release(key, claimant))
        return session_id

    def _find_or_claim(
        self, key: str, session: ConversationSession, claimant: str, deadline: Deadline
    ) -> str | None:
        telling = self._tellings.get(key)
        if telling is not None:
            telling.finish()
        while True:
            max_idle = self._max_idle(session)
            session_id = self._store.get(key, max_idle=max_idle)
            lease = deadline.remaining() + LEASE_MARGIN
            if session_id is not None or self._store.claim(key, claimant, lease=lease, max_idle=max_idle):
                return session_id
            if deadline.remaining() < POLL_INTERVAL:
                raise APITimeoutError("another process is creating the session of the conversation")
            time.sleep(POLL_INTERVAL)

    def _max_idle(self, session: ConversationSession) -> float | None:
        if self._idle_timeout is None or session.key in self._in_use:
            return None
        return self._idle_timeout + time.monotonic() - session._entered

    def _count(self, session: ConversationSession) -> None:
        if self._idle_timeout is None:
            return
        with self._lock:
            if not session._left and not session._is_counted:
                session._is_counted = True
                self._in_use[session.key] = self._in_use.get(session.key, 0) + 1

    def _forget(self, key: str, creation: Future[str | None]) -> None:
        with self._lock:
            if self._creations.get(key) is creation:
                del self._creations[key]

    def _tell(self, key: str, tell: Callable[[], None]) -> None:
        if not (self._store.blocking and is_event_loop_running()):
            self._quietly(tell)
            self._emit_reports()
            return
        telling = self._tellings[key] = _Telling(self._quietly, tell)
        try:
            self._workers.submit(self._tell_in_thread, key, telling)
        except RuntimeError as error:  # the interpreter is shutting down
            self._store_failed(error)

    def _tell_in_thread(self, key: str, telling: _Telling) -> None:
        telling.finish()
        with self._lock:
            if self._tellings.get(key) is telling:
                del self._tellings[key]
        self._emit_reports()

    def _quietly(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as error:  # noqa: BLE001 - a store must not break the application
            self._store_failed(error)

    def _emit_reports(self) -> None:
        # Never where another thread waits: see Reports.
        with creating():
            self._reports.emit()

    def _store_failed(self, error: Exception) -> None:
        self._warn_once(
            "the conversation store fails, scopes with a key fall back to a session of their own: %s: %s",
            type(error).__name__,
            error,
        )

    def _warn_once(self, message: str, *arguments: object) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._reports.add(logging.WARNING, message, *arguments)


class _Telling:
    """Something to tell a store: told once, by whoever comes first, and waited for by the others.

    A creation that needs it to be told does not wait for a free thread, as it may itself hold the last.
    """

    def __init__(self, function: Callable[..., None], *args: object) -> None:
        self._lock = threading.Lock()
        self._tell: Callable[[], None] | None = functools.partial(function, *args)

    def finish(self) -> None:
        """Return when it is told."""
        with self._lock:
            tell, self._tell = self._tell, None
            if tell is not None:
                tell()
