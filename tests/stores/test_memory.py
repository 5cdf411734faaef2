import asyncio
import gc
from collections.abc import Callable  # noqa: TC003 - a local annotation
from typing import Any

import pytest

from hl_sessions import ConfigurationError, SessionManager
from hl_sessions.stores import MemoryStore
from tests.interpreters import traced_bytes, traces_of_memory
from tests.sessions_api import SessionsAPI


def put(store: MemoryStore, key: str, session_id: str) -> None:
    assert store.claim(key, "claimant", lease=10, max_idle=None)
    assert store.save(key, "claimant", session_id)


def session_id(store: MemoryStore, key: str) -> str | None:
    conversation = store.get(key, max_idle=None)
    return conversation and conversation.session_id


class TestSize:
    def test_least_recently_used_makes_room(self) -> None:
        """Of more conversations than maxsize the one used least recently is forgotten."""
        store = MemoryStore(maxsize=3)
        for key in "abc":
            put(store, key, key)
        store.get("a", max_idle=None)
        put(store, "d", "d")
        assert [session_id(store, key) for key in "abcd"] == ["a", None, "c", "d"]
        store.touch("a", store.reference_id("a", max_idle=None))
        put(store, "e", "e")
        assert [session_id(store, key) for key in "acde"] == ["a", None, "d", "e"]

    def test_one(self) -> None:
        """There is room for one conversation at the least."""
        store = MemoryStore(1)
        put(store, "a", "a")
        put(store, "b", "b")
        assert session_id(store, "a") is None
        assert session_id(store, "b") == "b"

    @pytest.mark.parametrize("maxsize", [0, -1, True, 1.5, "3", None], ids=repr)
    def test_wrong(self, maxsize: Any) -> None:
        """Another maxsize than a whole number from 1 is a ConfigurationError."""
        with pytest.raises(ConfigurationError, match="maxsize="):
            MemoryStore(maxsize)

    @pytest.mark.slow
    def test_does_not_grow(self) -> None:
        """Far more conversations than maxsize take no more memory than maxsize of them."""
        tracemalloc = traces_of_memory()
        store = MemoryStore(maxsize=100)

        def fill(start: int) -> Any:
            for number in range(start, start + 2000):
                put(store, f"key {number}", f"sesh_{number}")
            gc.collect()
            return traced_bytes(tracemalloc, __file__)

        tracemalloc.start()
        try:
            before = fill(10_000)
            assert fill(20_000) - before < 10_000
        finally:
            tracemalloc.stop()
        assert repr(store) == "MemoryStore(maxsize=100)"

    def test_forgotten_conversation_starts_anew(self, sessions_api: SessionsAPI) -> None:
        """A conversation that had to make room starts a new session; a handle keeps what it has."""
        manager = SessionManager(sessions_api.base_url, store=MemoryStore(maxsize=1))
        with manager, manager.session(key="a") as a:
            first = a.id
            with manager.session(key="b") as b, manager.session(key="a") as again:
                assert b.id != first
                assert again.id != first
            assert a.id == first


def test_claims_leave_nothing_behind() -> None:
    """However a claim ends, it is forgotten."""
    store = MemoryStore()
    ends: tuple[Callable[[], object], ...] = (
        lambda: store.release("a", "one"),
        lambda: store.end("a"),
        lambda: store.save("a", "one", "sesh_1"),
    )
    for end in ends:
        assert store.claim("a", "one", lease=10, max_idle=None)
        end()
        assert store._claims == {}


def test_asked_on_the_event_loop(sessions_api: SessionsAPI) -> None:
    """A conversation of this process is found without any thread, so at once, on the event loop too."""
    manager = SessionManager(sessions_api.base_url, idle_timeout=60)
    with manager, manager.session(key="a") as session:
        first = session.id
        assert first is not None

        async def main() -> None:
            with manager.session(key="b"), manager.session(key="a") as again:
                assert await again.aid() == again.id == first
                again.end()

        asyncio.run(main())
        assert manager.workers._executor is None
