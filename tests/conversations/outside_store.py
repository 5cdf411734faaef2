"""A store that waits, and fails, when a test says so."""

import threading
from typing import Any

from hl_sessions.stores import Claim, Conversation, ConversationStore, MemoryStore


class OutsideStore(ConversationStore):
    """A store outside of the process: its methods may wait, or fail."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.memory = MemoryStore()
        self.reachable = threading.Event()
        self.reachable.set()
        self.failing: set[str] = set()
        self.calls: list[tuple[str, int]] = []

    def _do(self, name: str, *args: Any, **options: Any) -> Any:
        self.calls.append((name, threading.get_ident()))
        assert self.reachable.wait(30)
        if name in self.failing:
            raise ConnectionError(f"{name} is down")
        return getattr(self.memory, name)(*args, **options)

    def get(self, key: str, *, max_idle: float | None) -> Conversation | None:
        found: Conversation | None = self._do("get", key, max_idle=max_idle)
        return found

    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> Claim | None:
        claim: Claim | None = self._do("claim", key, claimant, lease=lease, max_idle=max_idle)
        return claim

    def save(self, key: str, claimant: str, session_id: str) -> Conversation | None:
        kept: Conversation | None = self._do("save", key, claimant, session_id)
        return kept

    def release(self, key: str, claimant: str) -> None:
        self._do("release", key, claimant)

    def reference_id(self, key: str, *, max_idle: float | None) -> str:
        return str(self._do("reference_id", key, max_idle=max_idle))

    def touch(self, key: str, reference_id: str) -> None:
        self._do("touch", key, reference_id)

    def end(self, key: str) -> None:
        self._do("end", key)

    def forget(self, key: str) -> None:
        self._do("forget", key)
