import asyncio
import gc
import threading
import tracemalloc
from typing import Any

import pytest

import hl_sessions.stores.memory
from hl_sessions import ConfigurationError, SessionManager
from hl_sessions.stores import MemoryStore
from tests.conftest import SessionsAPI


class Clock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(hl_sessions.stores.memory, "time", clock)
    return clock


def put(store: MemoryStore, key: str, session_id: str) -> None:
    assert store.claim(key, "claimant", lease=10, max_idle=None)
    assert store.save(key, "claimant", session_id)


class TestSize:
    def test_least_recently_used_makes_room(self) -> None:
        """Of more conversations than maxsize the one used least recently is forgotten."""
        store = MemoryStore(maxsize=3)
        for key in "abc":
            put(store, key, key)
        store.get("a", max_idle=None)
        put(store, "d", "d")
        assert [store.get(key, max_idle=None) for key in "abcd"] == ["a", None, "c", "d"]
        store.touch("a", "a")
        put(store, "e", "e")
        assert [store.get(key, max_idle=None) for key in "acde"] == ["a", None, "d", "e"]

    def test_one(self) -> None:
        """There is room for one conversation at the least."""
        store = MemoryStore(1)
        put(store, "a", "a")
        put(store, "b", "b")
        assert store.get("a", max_idle=None) is None
        assert store.get("b", max_idle=None) == "b"

    @pytest.mark.parametrize("maxsize", [0, -1, True, 1.5, "3", None], ids=repr)
    def test_wrong(self, maxsize: Any) -> None:
        """Another maxsize than a whole number from 1 is a ConfigurationError."""
        with pytest.raises(ConfigurationError, match="maxsize="):
            MemoryStore(maxsize)

    def test_does_not_grow(self) -> None:
        """Far more conversations than maxsize take no more memory than maxsize of them."""
        store = MemoryStore(maxsize=100)

        def fill(start: int) -> int:
            for number in range(start, start + 2000):
                put(store, f"key {number}", f"sesh_{number}")
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

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


class TestTimes:
    def test_idle(self, clock: Clock) -> None:
        """A conversation is there until it was not used for longer than asked; looking does not count."""
        store = MemoryStore()
        put(store, "a", "a")
        clock.now += 10
        assert store.get("a", max_idle=10) == "a"
        clock.now += 0.1
        assert store.get("a", max_idle=10) is None
        assert store.get("a", max_idle=None) == "a"
        store.touch("a", "a")
        assert store.get("a", max_idle=0) == "a"

    def test_touched_by_an_old_session(self, clock: Clock) -> None:
        """What used the session before this one does not keep this one alive, nor bring it back."""
        store = MemoryStore()
        put(store, "a", "new")
        clock.now += 10
        store.touch("a", "old")
        assert store.get("a", max_idle=5) is None
        store.end("a")
        store.touch("a", "new")
        assert store.get("a", max_idle=None) is None

    def test_lease(self, clock: Clock) -> None:
        """One claims at a time; when its lease is over another takes over, and the first is too late."""
        store = MemoryStore()
        assert store.claim("a", "first", lease=10, max_idle=None)
        assert not store.claim("a", "second", lease=10, max_idle=None)
        clock.now += 10
        assert store.claim("a", "second", lease=10, max_idle=None)
        assert not store.save("a", "first", "1")
        store.release("a", "first")
        assert not store.claim("a", "third", lease=10, max_idle=None)
        assert store.save("a", "second", "2")
        assert store.get("a", max_idle=None) == "2"
        assert not store.save("a", "second", "3")

    def test_claim_of_an_idle_conversation(self, clock: Clock) -> None:
        """A conversation can be claimed where there is none, or an idle one; the new session replaces it."""
        store = MemoryStore()
        put(store, "a", "old")
        clock.now += 10
        assert not store.claim("a", "new", lease=10, max_idle=10)
        assert store.claim("a", "new", lease=10, max_idle=9)
        assert store.save("a", "new", "new")
        assert store.get("a", max_idle=1) == "new"


class TestClaims:
    def test_released(self) -> None:
        """A released claim leaves the way free, and nothing behind."""
        store = MemoryStore()
        assert store.claim("a", "first", lease=10, max_idle=None)
        store.release("a", "first")
        assert store.claim("a", "second", lease=10, max_idle=None)
        store.end("a")
        assert store._claims == {}

    def test_ended(self) -> None:
        """An end during a creation voids its claim: the session is not kept."""
        store = MemoryStore()
        assert store.claim("a", "first", lease=10, max_idle=None)
        store.end("a")
        assert not store.save("a", "first", "1")
        assert store.get("a", max_idle=None) is None
        store.end("a")

    def test_many_threads(self) -> None:
        """Of many threads that claim at once one gets it."""
        store = MemoryStore()
        barrier = threading.Barrier(16)
        claimed: list[bool] = []

        def claim(name: str) -> None:
            for number in range(100):
                barrier.wait(20)
                claimed.append(store.claim(str(number), name, lease=10, max_idle=None))

        threads = [threading.Thread(target=claim, args=(str(number),)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(claimed) == 100


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
