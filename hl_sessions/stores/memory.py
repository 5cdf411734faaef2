"""Conversations of one process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import ClassVar

from hl_sessions.fork import renew_after_fork
from hl_sessions.settings import checked_count
from hl_sessions.stores.base import ConversationStore

__all__ = ["MemoryStore"]


class MemoryStore(ConversationStore):
    """Keeps conversations in the memory of this process.

    Args:
        maxsize: how many conversations at the most; the one that was used least recently makes room.

    Raises:
        ConfigurationError: ``maxsize`` is not a whole number from 1.
    """

    blocking: ClassVar[bool] = False

    def __init__(self, maxsize: int = 100_000) -> None:
        self._maxsize = checked_count("maxsize", maxsize, minimum=1)
        # ID and time of last use, the least recently used first.
        self._sessions: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._claims: dict[str, tuple[str, float]] = {}  # claimant and end of the lease
        self._lock = threading.RLock()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(maxsize={self._maxsize})"

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._claims.clear()

    def get(self, key: str, *, max_idle: float | None) -> str | None:  # noqa: D102 - the contract's
        with self._lock:
            entry = self._sessions.get(key)
            if entry is None:
                return None
            session_id, last_use = entry
            if max_idle is not None and time.monotonic() - last_use > max_idle:
                return None
            self._sessions.move_to_end(key)
            return session_id

    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> bool:  # noqa: D102
        with self._lock:
            if self.get(key, max_idle=max_idle) is not None:
                return False
            now = time.monotonic()
            if key in self._claims and now < self._claims[key][1]:
                return False
            self._claims[key] = claimant, now + lease
            return True

    def save(self, key: str, claimant: str, session_id: str) -> bool:  # noqa: D102
        with self._lock:
            if not self._drop_claim(key, claimant):
                return False
            self._use(key, session_id)
            if len(self._sessions) > self._maxsize:
                self._sessions.popitem(last=False)
            return True

    def release(self, key: str, claimant: str) -> None:  # noqa: D102
        with self._lock:
            self._drop_claim(key, claimant)

    def touch(self, key: str, session_id: str) -> None:  # noqa: D102
        with self._lock:
            entry = self._sessions.get(key)
            if entry is not None and entry[0] == session_id:
                self._use(key, session_id)

    def end(self, key: str) -> None:  # noqa: D102
        with self._lock:
            self._sessions.pop(key, None)
            self._claims.pop(key, None)

    def _use(self, key: str, session_id: str) -> None:
        self._sessions[key] = session_id, time.monotonic()
        self._sessions.move_to_end(key)

    def _drop_claim(self, key: str, claimant: str) -> bool:
        if key not in self._claims or self._claims[key][0] != claimant:
            return False
        del self._claims[key]
        return True
