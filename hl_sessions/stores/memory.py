"""Conversations of one process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import ClassVar, TypeVar

from hl_sessions.process.checks import checked_count
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.stores.base import Conversation, ConversationStore

__all__ = ["MemoryStore"]

Entry = TypeVar("Entry")


class MemoryStore(ConversationStore):
    """Keeps conversations in the memory of this process.

    Args:
        maxsize: how many conversations at the most; the one that was used least recently makes room.
        namespace: keeps the conversations of applications apart that share the store.
        hash_keys: keep the SHA-256 hash of a key only.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    blocking: ClassVar[bool] = False

    def __init__(self, maxsize: int = 100_000, *, namespace: str = "", hash_keys: bool = False) -> None:
        super().__init__(namespace=namespace, hash_keys=hash_keys)
        self._maxsize = checked_count("maxsize", maxsize, minimum=1)
        # With the time of last use, the least recently used first.
        self._conversations: OrderedDict[str, tuple[Conversation, float]] = OrderedDict()
        self._previous_ids: OrderedDict[str, str] = OrderedDict()  # of conversations that were ended
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
            if max_idle is None:
                self._conversations.move_to_end(key)
            elif time.monotonic() - entry[1] > max_idle:
                return None
            else:
                self._use(key, entry[0])
            return entry[0]

    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> bool:  # noqa: D102
        with self._lock:
            entry = self._conversations.get(key)
            if entry is not None and (max_idle is None or time.monotonic() - entry[1] <= max_idle):
                return False
            now = time.monotonic()
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
            previous_id = self._previous_ids.pop(key, None) if before is None else before[0].session_id
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
                self._previous_ids[key] = entry[0].session_id
                _make_room(self._previous_ids, self._maxsize)
            self._claims.pop(key, None)

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
