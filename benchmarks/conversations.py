"""Scopes whose conversation is known already, and how stores and cookies fare."""

from __future__ import annotations

import gc
import hashlib
import tempfile
import tracemalloc
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import redis
from itsdangerous import TimestampSigner

from benchmarks.api import sessions_api
from benchmarks.measure import FULL, Effort, calls, compare, paired_medians
from benchmarks.redis_server import redis_url
from benchmarks.row import OURS, Row, limited, within
from hl_sessions import SessionManager, current_session_id
from hl_sessions.integrations.cookies import SignedCookie
from hl_sessions.stores import ConversationStore, MemoryStore, RedisStore, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["conversation_rows"]

GET = "GET of redis-py"
ITSDANGEROUS = "itsdangerous"
KEY = "chat-42"
SECRET = "a secret of many characters"
MAXSIZE = 100_000
FILLING = "while it fills"


def conversation_rows(effort: Effort) -> Iterator[Row]:
    """Measure a scope with a key that is known and one read, the size of a full store, and a cookie."""
    known = "scope with a read, conversation known"
    with tempfile.TemporaryDirectory() as folder, redis_url() as url, sessions_api() as api:
        client = redis.Redis.from_url(url)
        client.set(KEY, "sesh_0123456789abcdefghij")
        stores: dict[str, ConversationStore] = {
            "MemoryStore": MemoryStore(),
            "SQLiteStore": SQLiteStore(Path(folder) / "conversations.db"),
            "RedisStore": RedisStore(url),
        }
        managers = {name: SessionManager(api.base_url, store=store) for name, store in stores.items()}
        runs = {name: calls(_scope(manager)) for name, manager in managers.items()}
        seconds = compare(runs | {GET: calls(lambda: client.get(KEY))}, effort)
        for manager in managers.values():
            manager.close()
        for store in stores.values():
            store.close()
        client.close()
    at_once = {name: median(rounds) for name, rounds in seconds.items()}
    yield within(f"{known}: MemoryStore", "s", {OURS: at_once["MemoryStore"]}, at_most=3e-6)
    yield within(f"{known}: SQLiteStore", "s", {OURS: at_once["SQLiteStore"]}, at_most=6e-5)
    redis_seconds = paired_medians({OURS: seconds["RedisStore"], GET: seconds[GET]}, GET)
    yield limited(f"{known}: RedisStore", redis_seconds, times=1.3, reference=GET)
    yield from _full_store_rows(effort)
    yield _cookie_row(effort)


def _scope(manager: SessionManager) -> Callable[[], str | None]:
    def scope() -> str | None:
        with manager.session(key=KEY):
            return current_session_id()

    if scope() is None:
        raise RuntimeError("the session could not be created")
    return scope


def _full_store_rows(effort: Effort) -> Iterator[Row]:
    keys = effort.scopes
    maxsize = min(MAXSIZE, keys // 10)

    def fill(store: MemoryStore, start: int, number: int) -> float:
        started = perf_counter()
        for n in range(start, start + number):
            key = store.entry_key("http://127.0.0.1:8642/v4", f"conversation {n}")
            store.claim(key, "one", lease=10, max_idle=None)
            store.save(key, "one", f"sesh_{n:024}")
        return perf_counter() - started

    tenth = keys // 10
    rounds = [
        [fill(store, part * tenth, tenth) / tenth for part in range(10)]
        for store in (MemoryStore(maxsize) for _ in range(3 if effort is FULL else 1))
    ]
    times = {OURS: median(one[-1] for one in rounds), FILLING: median(one[0] for one in rounds)}
    gc.collect()
    tracemalloc.start()
    store = MemoryStore(maxsize)
    for part in range(10):
        fill(store, part * tenth, tenth)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    title = f"{keys:,} conversations in a MemoryStore({maxsize:,})"
    yield within(f"{title}: size", "MB", {OURS: size / 1e6}, at_most=60)
    # The first tenth only fills it; from then on each makes room.
    yield limited(f"{title}: one more, at the end", times, times=2, reference=FILLING)


def _cookie_row(effort: Effort) -> Row:
    cookie = SignedCookie(SECRET)
    header = cookie.header("A" * 22, is_secure=True).partition(";")[0]
    signer = TimestampSigner(
        SECRET, salt="hl_sessions.cookie.hl_session", key_derivation="hmac", digest_method=hashlib.sha256
    )
    value = header.partition("=")[2]
    runs = {
        OURS: calls(lambda: cookie.key([header])),
        ITSDANGEROUS: calls(lambda: signer.unsign(value, max_age=cookie.max_age)),
    }
    seconds = paired_medians(compare(runs, effort), ITSDANGEROUS)
    return limited("verifying a cookie", seconds, times=1.2, reference=ITSDANGEROUS)
