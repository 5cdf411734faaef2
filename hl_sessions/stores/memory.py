"""Conversations of one process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from itertools import islice
from typing import ClassVar

from hl_sessions.process.checks import checked_count
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.stores.base import (
    FORGET_AFTER,
    FORGOTTEN_AT_ONCE,
    USES_COUNTED,
    Claim,
    Conversation,
    ConversationStore,
    new_reference_id,
)

__all__ = ["MemoryStore"]


class _Entry:
    """The entry of a conversation.

    Attributes:
        conversation: the result of :meth:`MemoryStore.get`, ``None`` while there is no session.
        previous_id: the ID of the last session before, ``None`` if there was none.
        reference_id: the reference ID.
        last_use: the time of the last use, of ``time.monotonic()``.
    """

    __slots__ = ("conversation", "last_use", "previous_id", "reference_id")

    def __init__(self) -> None:
        self.conversation: Conversation | None = None
        self.previous_id: str | None = None
        self.reference_id = new_reference_id()
        self.last_use = time.monotonic()

    def end(self) -> None:
        if self.conversation is not None:
            self.previous_id, self.conversation = self.conversation.session_id, None
        self.reference_id = new_reference_id()


class MemoryStore(ConversationStore):
    """Keeps conversations in the memory of this process.

    Args:
        maxsize: the most conversations to keep. Beyond that, the least recently used one is dropped.
        namespace: keeps the conversations of several applications in one store apart.
        hash_keys: keep only the SHA-256 hash of a key.
        forget_after: seconds after its last use until a conversation is forgotten. Default: 90 days.

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
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # the least recently used first
        self._claims: dict[str, tuple[str, float]] = {}  # the claimant and the end of the lease
        self._lock = threading.RLock()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(maxsize={self._maxsize})"

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._claims.clear()

    def get(self, key: str, *, max_idle: float | None) -> Conversation | None:  # noqa: D102 - the contract's
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.conversation is None:
                return None
            idle = time.monotonic() - entry.last_use
            if idle > (self.forget_after if max_idle is None else max_idle):
                return None
            if max_idle is not None or idle > self.forget_after / USES_COUNTED:
                self._use(key, entry)
            else:
                self._entries.move_to_end(key)
            return entry.conversation

    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> Claim | None:  # noqa: D102
        with self._lock:
            now = time.monotonic()
            self._forget_old(now)
            entry = self._entries.get(key)
            is_going_on = entry is not None and entry.conversation is not None
            if is_going_on and not self._is_over(key, max_idle):
                return None
            other, claim_ends = self._claims.get(key, (claimant, now))
            if other != claimant and now < claim_ends:
                return None
            reference_id = self.reference_id(key, max_idle=max_idle)
            self._claims[key] = claimant, now + lease
            return Claim(reference_id, self._entries[key].previous_id)

    def save(self, key: str, claimant: str, session_id: str) -> Conversation | None:  # noqa: D102
        with self._lock:
            if not self._drop_claim(key, claimant):
                return None
            entry = self._entries.get(key) or _Entry()
            entry.conversation = Conversation(session_id, entry.previous_id, entry.reference_id)
            self._use(key, entry)
            return entry.conversation

    def release(self, key: str, claimant: str) -> None:  # noqa: D102
        with self._lock:
            self._drop_claim(key, claimant)

    def reference_id(self, key: str, *, max_idle: float | None) -> str:  # noqa: D102
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = _Entry()
            elif self._is_over(key, max_idle):
                entry.end()
            self._use(key, entry)
            return entry.reference_id

    def touch(self, key: str, reference_id: str) -> None:  # noqa: D102
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.reference_id == reference_id:
                self._use(key, entry)

    def end(self, key: str) -> None:  # noqa: D102
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.end()
                self._use(key, entry)
            self._claims.pop(key, None)

    def forget(self, key: str) -> None:  # noqa: D102
        with self._lock:
            self._entries.pop(key, None)
            self._claims.pop(key, None)

    def _is_over(self, key: str, max_idle: float | None) -> bool:
        """Whether a conversation was idle for too long, and there is no claim to create its session."""
        now = time.monotonic()
        longest = self.forget_after if max_idle is None else max_idle
        _, claim_ends = self._claims.get(key, ("", now))
        return now - self._entries[key].last_use > longest and now >= claim_ends

    def _forget_old(self, now: float) -> None:
        # The oldest are the first. Forgetting a few at each claim keeps up with new ones.
        for key, entry in list(islice(self._entries.items(), FORGOTTEN_AT_ONCE)):
            if now - entry.last_use > self.forget_after:
                del self._entries[key]

    def _use(self, key: str, entry: _Entry) -> None:
        entry.last_use = time.monotonic()
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._maxsize:
            self._entries.popitem(last=False)

    def _drop_claim(self, key: str, claimant: str) -> bool:
        if key not in self._claims or self._claims[key][0] != claimant:
            return False
        del self._claims[key]
        return True
