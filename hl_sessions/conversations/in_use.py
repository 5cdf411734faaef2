"""The conversations of open scopes in this process, and those that this process has ended."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

from hl_sessions.conversations.episode import Episode
from hl_sessions.process.alarm import Alarm
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.threads import start_thread
from hl_sessions.stores.base import new_reference_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from hl_sessions.conversations.session import ConversationSession

__all__ = ["ConversationsInUse"]

MAX_ENDED = 10_000  # conversations whose end is remembered


class _End(NamedTuple):
    """The last end of a conversation in this process."""

    time: float
    reference_id: str  # for the time after this end, while the store fails


class ConversationsInUse:
    """The conversations that open scopes of this process have read.

    Args:
        idle_timeout: seconds of idle time after which a conversation is over; ``None``: never.
        touch: tells the store that the conversation of a scope is used now.
        is_shared: whether other processes share the store, and might take such a conversation for idle.
    """

    def __init__(
        self,
        idle_timeout: float | None,
        touch: Callable[[ConversationSession], None],
        *,
        is_shared: bool,
    ) -> None:
        self._idle_timeout = idle_timeout
        self._touch = touch
        self._is_shared = is_shared
        self._is_retired = False
        # Needed by scopes that were open at the end, too. A forked child keeps them.
        self._ended: OrderedDict[str, _End] = OrderedDict()
        # The episodes that handles hold until their datapoints are sent.
        self._episodes: WeakValueDictionary[str, Episode] = WeakValueDictionary()
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        # The open scopes of this process that have read their conversation.
        self._sessions: dict[str, set[ConversationSession]] = {}
        self._is_keeping = False  # whether a thread tells the store which conversations are in use
        self._is_closed = False
        self._has_to_look = Alarm()

    def max_idle(self, session: ConversationSession) -> float | None:
        """Return the seconds after its last use until the conversation of a scope is over."""
        if self._idle_timeout is None or session._key in self._sessions:
            return None
        return self._idle_timeout + time.monotonic() - session._entered

    def count(self, session: ConversationSession) -> None:
        """Note that a scope has read its conversation, which is in use from now on."""
        with self._lock:
            if session._left or session._is_counted or session._is_over():
                return
            session._is_counted = True
            self._sessions.setdefault(session._key, set()).add(session)
            if self._is_keeping or not self._is_shared:
                return
            self._is_keeping = True
        if start_thread(self._keep, "hl-sessions-keeper") is None:
            self._is_keeping = False

    def leave(self, session: ConversationSession) -> None:
        """Note the end of a scope; its conversation is idle from now on, unless another scope uses it."""
        with self._lock:
            if self._is_retired:
                self._has_to_look.set_off()
            if not session._is_counted:
                return
            session._is_counted = False
            users = self._sessions.get(session._key)  # None in a forked child
            if users is not None:
                users.discard(session)
                if not users:
                    del self._sessions[session._key]
        self._touch(session)

    def end(self, conversation_key: str) -> Episode | None:
        """Note the end of a conversation, which its open scopes do not use any more.

        Returns:
            The episode that is over, if a handle needs to know.
        """
        with self._lock:
            self._ended[conversation_key] = _End(time.monotonic(), new_reference_id())
            self._ended.move_to_end(conversation_key)
            for user in self._sessions.pop(conversation_key, ()):
                user._is_counted = False
            episode = self._episodes.pop(conversation_key, None)
            if episode is not None:
                episode.is_over = True
            if len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)
            return episode

    def has_ended(self, session: ConversationSession) -> bool:
        """Whether the conversation of a scope was ended since it was entered, as far as remembered."""
        end = self._ended.get(session._key)
        return end is not None and end.time >= session._entered

    def episode(self, conversation_key: str) -> Episode:
        """Return the episode of a conversation until its next end in this process."""
        with self._lock:
            episode = self._episodes.get(conversation_key)
            if episode is None:
                episode = self._episodes[conversation_key] = Episode()
            return episode

    def reference_id_after_end(self, conversation_key: str) -> str | None:
        """Return the reference ID for the time after the last end of a conversation in this process.

        Used while the store fails; ``None`` if no end is remembered.
        """
        end = self._ended.get(conversation_key)
        return None if end is None else end.reference_id

    def close(self) -> None:
        """End the thread that tells the store of conversations in use."""
        self._is_closed = True
        self._has_to_look.set_off()

    def retire(self) -> None:
        """End that thread as soon as no conversation is in use."""
        self._is_retired = True
        self._has_to_look.set_off()

    def _keep(self) -> None:
        """Tell the store of conversations in use, so that other processes do not take them for idle."""
        interval = (self._idle_timeout or 0) / 3
        while True:
            self._has_to_look.wait(interval)
            with self._lock:
                # Each reference ID once: a scope that was entered before an end elsewhere has an old one.
                in_use = {
                    (session._key, session._known_reference_id()): session
                    for users in self._sessions.values()
                    for session in users
                }
                if not in_use or self._is_closed:
                    self._is_keeping = False
                    return
            for session in in_use.values():
                self._touch(session)
