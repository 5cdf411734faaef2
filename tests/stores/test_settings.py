"""How stores are set up, and what of a conversation they keep."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from hl_sessions import ConfigurationError, SessionManager
from hl_sessions.stores import ConversationStore, MemoryStore, RedisStore, SQLiteStore
from tests.sessions_api import SessionsAPI
from tests.waiting import wait_until

PASSWORD = "pass-word-1234"

# As callers without types use them.
memory_store: Any = MemoryStore
sqlite_store: Any = SQLiteStore
redis_store: Any = RedisStore


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: memory_store(namespace="a b"), "namespace='a b'"),
        (lambda: memory_store(namespace="#"), "namespace='#'"),
        (lambda: memory_store(namespace="n" * 65), "namespace="),
        (lambda: memory_store(namespace=7), "namespace=7"),
        (lambda: memory_store(hash_keys="yes"), "hash_keys='yes'"),
        (lambda: memory_store(forget_after=0), "forget_after=0 must be a positive"),
        (lambda: sqlite_store("a.db", forget_after="90 days"), "forget_after='90 days'"),
        (lambda: redis_store("redis://localhost:6379/0", forget_after=-1), "forget_after=-1"),
        (
            lambda: SessionManager(store=MemoryStore(forget_after=60), idle_timeout=61),
            "idle_timeout=61.0 is longer than the store keeps",
        ),
        (lambda: sqlite_store(7), "path must be a str or a Path, not int"),
        (lambda: sqlite_store(""), "path=''"),
        (lambda: sqlite_store(":memory:"), "MemoryStore"),
        (lambda: sqlite_store("/nowhere/at/all.db"), "there is no folder '/nowhere/at'"),
        (lambda: sqlite_store("/"), "path='/' is a folder"),
        (lambda: sqlite_store("a\0b"), "path="),
        (lambda: redis_store(7), "url must be a str"),
        (lambda: redis_store(redis.Redis(socket_timeout=None)), "the Redis client has socket_timeout=None"),
        (lambda: redis_store("localhost:6379"), "url is not a Redis URL"),
        (lambda: redis_store(f"redis://:{PASSWORD}@localhost:port/0"), "url is not a Redis URL"),
        (lambda: redis_store(f"redis://:{PASSWORD}/x@localhost:6379/0"), "url is not a Redis URL"),
        (lambda: redis_store("redis://localhost:6379/0?foo=1"), "wrong option"),
        (lambda: redis_store(f"http://:{PASSWORD}@localhost/0"), "url is not a Redis URL"),
    ],
)
def test_wrong_setting(make: Any, message: str) -> None:
    """It is a ConfigurationError when the store is made, which shows no password."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert message in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_no_password_is_shown() -> None:
    """An unused store has made no connection, and shows no secret of its URL."""
    assert PASSWORD not in repr(RedisStore(f"redis://:{PASSWORD}@127.0.0.1:1/0"))


def test_password_of_a_server_that_is_down(
    sessions_api: SessionsAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning does not show it either; the scope has a session of its own."""
    store = RedisStore(f"redis://:{PASSWORD}@127.0.0.1:1/0")
    with (
        SessionManager(sessions_api.base_url, store=store) as manager,
        manager.session(key="secret key") as session,
    ):
        assert session.id is not None
    assert "the conversation store fails" in caplog.text
    assert PASSWORD not in caplog.text
    assert "secret key" not in caplog.text


def keys_in(store: ConversationStore) -> list[str]:
    if isinstance(store, SQLiteStore):
        with sqlite3.connect(store._path) as connection:
            rows = connection.execute("SELECT * FROM conversations").fetchall()
        connection.close()
        return [str(row) for row in rows]
    assert isinstance(store, RedisStore)
    return [f"{key} {store._client.get(key)}" for key in store._client.keys("*")]


@pytest.mark.parametrize("store", ["sqlite", "valkey"], indirect=True)
def test_what_is_kept(
    store: ConversationStore, make_store: Callable[[str], ConversationStore], sessions_api: SessionsAPI
) -> None:
    """The session ID and times; the key in clear, or hashed where that is asked for."""
    with SessionManager(sessions_api.base_url, store=store) as manager:
        with manager.session(key="+49 171 5555555") as session:
            first = session.id
        store._hash_keys = True
        with manager.session(key="+49 171 6666666") as session:
            second = session.id
            assert second is not None
        with manager.session(key="+49 171 6666666") as session:
            assert session.id == second
    kept = " ".join(keys_in(store))
    assert str(first) in kept
    assert str(second) in kept
    assert "5555555" in kept
    assert "6666666" not in kept


@pytest.mark.parametrize("store", ["sqlite", "valkey"], indirect=True)
def test_what_nobody_uses_is_not_kept(store: ConversationStore) -> None:
    """The conversations that a service has had do not pile up, however they ended."""
    store.forget_after = 0.05
    for number in range(301):
        key = f"chat {number}"
        assert store.claim(key, "one", lease=5, max_idle=None)
        if number % 3:
            assert store.save(key, "one", f"sesh_{number}")
        else:
            store.release(key, "one")
        if number % 3 == 1:
            store.end(key)

    def kept() -> int:
        assert store.claim("another", "one", lease=5, max_idle=None)
        store.release("another", "one")
        return len(keys_in(store))

    wait_until(lambda: kept() <= 1)


@pytest.mark.parametrize("store", ["sqlite", "valkey"], indirect=True)
def test_a_claim_outlives_the_time_to_forget(store: ConversationStore) -> None:
    """The session that is created meanwhile is kept."""
    store.forget_after = 0.001
    assert store.claim("chat", "one", lease=5, max_idle=None)
    pause_until = time.monotonic() + 0.01
    wait_until(lambda: time.monotonic() > pause_until)
    assert store.save("chat", "one", "sesh_A")


@pytest.mark.parametrize("ahead", [130, 3600])
def test_a_claim_of_a_clock_that_was_ahead_is_void(tmp_path: Path, ahead: float) -> None:
    """It would lock its conversation until the clocks agree."""
    store = SQLiteStore(tmp_path / "conversations.db")
    assert store.claim("chat", "ahead", lease=5, max_idle=None)
    with sqlite3.connect(store._path) as connection:
        connection.execute("UPDATE conversations SET claim_ends = claim_ends + ?", [ahead])
    connection.close()
    assert store.claim("chat", "another", lease=5, max_idle=None)
    store.close()


@pytest.mark.parametrize("kind", ["sqlite", "valkey"])
def test_namespaces_and_urls_are_apart(
    kind: str, redis_server: str, tmp_path: Path, sessions_api: SessionsAPI
) -> None:
    """One key is another conversation in another namespace, and with another API."""

    def make(namespace: str) -> ConversationStore:
        if kind == "sqlite":
            return SQLiteStore(tmp_path / "conversations.db", namespace=namespace)
        return RedisStore(redis_server, namespace=namespace)

    def read(store: ConversationStore, base_url: str) -> str | None:
        with SessionManager(base_url, store=store) as manager, manager.session(key="namespaces") as session:
            session_id = session.id
        store.close()
        return session_id

    urls = (sessions_api.base_url, sessions_api.base_url.replace("127.0.0.1", "localhost"))
    ids = {(name, url): read(make(name), url) for name in ("", "one", "two") for url in urls}
    assert len({*ids.values()}) == 6
    assert ids == {(name, url): read(make(name), url) for name, url in ids}


def test_a_client_that_is_given_stays_open(redis_server: str) -> None:
    """A client is closed by the code that made it."""
    with redis.Redis.from_url(redis_server, decode_responses=True) as client:
        store = RedisStore(client)
        assert store.claim("given", "one", lease=5, max_idle=None)
        assert store.save("given", "one", "sesh_1")
        first = store.reference_id("given", max_idle=None)
        assert store.get("given", max_idle=None) == ("sesh_1", None, first)
        store.end("given")
        claim = store.claim("given", "two", lease=5, max_idle=60)
        assert claim is not None
        assert claim.reference_id != first
        assert claim.previous_id == "sesh_1"
        assert store.save("given", "two", "sesh_2") == ("sesh_2", "sesh_1", claim.reference_id)
        assert store.get("given", max_idle=60) == ("sesh_2", "sesh_1", claim.reference_id)
        store.close()
        assert client.ping()
