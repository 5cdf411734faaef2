"""Conversations of one process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from itertools import islice
from typing import ClassVar, TypeVar

from hl_sessions.process.checks import checked_count
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.stores.base import (
    FORGET_AFTER,
    FORGOTTEN_AT_ONCE,
    USES_COUNTED,
    Conversation,
    ConversationStore,
)

__all__ = ["MemoryStore"]

Entry = TypeVar("Entry")


class MemoryStore(ConversationStore):
    """Keeps conversations in the memory of this process.

    Args:
        maxsize: how many conversations at the most; the one that was used least recently makes room.
        namespace: keeps the conversations of applications apart that share the store.
        hash_keys: keep the SHA-256 hash of a key only.
        forget_after: seconds since its last use after which a conversation is forgotten. Default: 90 days.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        maxsize: int = 100_000,
        *,
        namespace: str = "",
        hash_keys: bool = False,
        forget_after: float = FORGET_AFTER,
    ) -> None:
        super().__init__(namespace=namespace, hash_keys=hash_keys, forget_after=forget_after)
        self._maxsize = checked_count("maxsize", maxsize, minimum=1)
        # With the time of last use, the least recently used first.
        self._conversations: OrderedDict[str, tuple[Conversation, float]] = OrderedDict()
        # Of conversations that were ended, with the time of the end.
        self._previous_ids: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._claims: dict[str, tuple[str, float]] = {}  # claimant and end of the lease
        self._lock = threading.RLock()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(maxsize={self._maxsize})"

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._claims.clear()

    def get(self, key: str, *, max_idle: float | None) -> Conversation | None:  # noqa: D102 - the contract's
        with self._lock:
            entry = self._conversations.get(key)
            if entry is None:
                return None
            idle = time.monotonic() - entry[1]
            if idle > (self.forget_after if max_idle is None else max_idle):
                return None
            if max_idle is not None or idle > self.forget_after / USES_COUNTED:
                self._use(key, entry[0])
            else:
                self._conversations.move_to_end(key)
            return entry[0]

    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> bool:  # noqa: D102
        with self._lock:
            now = time.monotonic()
            self._forget_old(now)
            entry = self._conversations.get(key)
            longest = self.forget_after if max_idle is None else max_idle
            if entry is not None and now - entry[1] <= longest:
                return False
            other, claim_ends = self._claims.get(key, (claimant, now))
            if other != claimant and now < claim_ends:
                return False
            self._claims[key] = claimant, now + lease
            return True

    def save(self, key: str, claimant: str, session_id: str) -> Conversation | None:  # noqa: D102
        with self._lock:
            if not self._drop_claim(key, claimant):
                return None
            before = self._conversations.get(key)
            ended_id, _ = self._previous_ids.pop(key, (None, 0.0))
            previous_id = ended_id if before is None else before[0].session_id
            conversation = Conversation(session_id, previous_id)
            self._use(key, conversation)
            _make_room(self._conversations, self._maxsize)
            return conversation

    def release(self, key: str, claimant: str) -> None:  # noqa: D102
        with self._lock:
            self._drop_claim(key, claimant)

    def touch(self, key: str, session_id: str) -> None:  # noqa: D102
        with self._lock:
            entry = self._conversations.get(key)
            if entry is not None and entry[0].session_id == session_id:
                self._use(key, entry[0])

    def end(self, key: str) -> None:  # noqa: D102
        with self._lock:
            entry = self._conversations.pop(key, None)
            if entry is not None:
                self._previous_ids[key] = entry[0].session_id, time.monotonic()
                _make_room(self._previous_ids, self._maxsize)
            self._claims.pop(key, None)

    def forget(self, key: str) -> None:  # noqa: D102
        with self._lock:
            self._conversations.pop(key, None)
            self._previous_ids.pop(key, None)
            self._claims.pop(key, None)

    def _forget_old(self, now: float) -> None:
        # The oldest are the first; a few at each claim keep up with what comes.
        for entries in (self._conversations, self._previous_ids):
            for key, (_, last_use) in list(islice(entries.items(), FORGOTTEN_AT_ONCE)):
                if now - last_use > self.forget_after:
                    del entries[key]

    def _use(self, key: str, conversation: Conversation) -> None:
        self._conversations[key] = conversation, time.monotonic()
        self._conversations.move_to_end(key)

    def _drop_claim(self, key: str, claimant: str) -> bool:
        if key not in self._claims or self._claims[key][0] != claimant:
            return False
        del self._claims[key]
        return True


def _make_room(entries: OrderedDict[str, Entry], maxsize: int) -> None:
    if len(entries) > maxsize:
        entries.popitem(last=False)
