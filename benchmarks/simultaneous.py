"""Threads and tasks that read one new session at the same moment."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import requests

from benchmarks.api import SessionsAPI, sessions_api
from benchmarks.measure import modules_left_alone
from benchmarks.row import LIMIT, OURS, SECONDS, Row, limited, within
from hl_sessions import Session, SessionManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Effort

__all__ = ["HEARTBEAT", "beat", "simultaneous_rows"]

THREADS = 64
TASKS = 256
LATENCY = 0.1  # seconds; the page of the report says so, too
HEARTBEAT = 0.001  # seconds
UNGUARDED = "unguarded"
ONE_READ = "one read"


class _Readable(Protocol):
    def read(self) -> object: ...

    async def aread(self) -> object: ...


@dataclass(frozen=True)
class _Figures:
    posts: int
    seconds: float  # from the first question to the last answer
    standstill: float  # the longest of the event loop, in seconds


def simultaneous_rows(effort: Effort) -> Iterator[Row]:
    """Measure how many sessions are created, how long all readers take, and how the event loop fares."""
    readers = f"{THREADS} threads and {TASKS} tasks at once"
    with (
        sessions_api(LATENCY) as api,
        SessionManager(api.base_url) as manager,
        requests.Session() as http,
        modules_left_alone(),
    ):

        def post() -> str:
            return str(http.post(api.url).json()["id"])

        contenders: dict[str, Callable[[], _Readable]] = {
            OURS: lambda: _Ours(manager),
            LIMIT: lambda: _Signals(post),
            UNGUARDED: lambda: _Unguarded(post),
        }
        rounds = []
        for _ in range(max(1, effort.rounds // 20)):
            figures = {name: _figures(api, make) for name, make in contenders.items()}
            rounds.append({ONE_READ: _one_read(manager), **figures})
    posts = {name: max(one[name].posts for one in rounds) for name in contenders}
    seconds = {name: median(one[name].seconds for one in rounds) for name in rounds[0]}
    standstill = {name: median(one[name].standstill for one in rounds) for name in contenders}
    yield within(f"{readers}: sessions created", "", posts, at_most=1)
    yield limited(f"{readers}: until the last has its ID", seconds, times=1.2, reference=ONE_READ)
    yield within(f"{readers}: longest standstill of the event loop", SECONDS, standstill, at_most=0.005)


class _Ours:
    def __init__(self, manager: SessionManager) -> None:
        with manager.session() as session:
            self._session: Session = session

    def read(self) -> str | None:
        return self._session.id

    async def aread(self) -> str | None:
        return await self._session.aid()


class _Signals:
    """One creation, and a signal to all waiters: the least that a guard can do."""

    def __init__(self, create: Callable[[], str]) -> None:
        self._create = create
        self._lock = threading.Lock()
        self._is_begun = False
        self._for_threads = threading.Event()
        self._for_tasks = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def read(self) -> str:
        self._begin()
        self._for_threads.wait()
        return self._id

    async def aread(self) -> str:
        self._begin()
        await self._for_tasks.wait()
        return self._id

    def _begin(self) -> None:
        with self._lock:
            is_first, self._is_begun = not self._is_begun, True
        if is_first:
            threading.Thread(target=self._create_and_tell).start()

    def _create_and_tell(self) -> None:
        self._id = self._create()
        self._for_threads.set()
        self._loop.call_soon_threadsafe(self._for_tasks.set)


class _Unguarded:
    """Creates a missing ID, in the way that comes to mind first."""

    def __init__(self, create: Callable[[], str]) -> None:
        self._create = create
        self._id: str | None = None

    def read(self) -> str:
        if self._id is None:
            self._id = self._create()
        return self._id

    async def aread(self) -> str:
        return await asyncio.to_thread(self.read)


def _one_read(manager: SessionManager) -> _Figures:
    started = perf_counter()
    with manager.session() as session:
        if session.id is None:
            raise RuntimeError("the session could not be created")
    seconds = perf_counter() - started
    return _Figures(posts=1, seconds=seconds, standstill=seconds)


def _figures(api: SessionsAPI, make: Callable[[], _Readable]) -> _Figures:
    async def read_all() -> tuple[float, float]:
        return await _all_at_once(make())

    posts_before = api.posts
    seconds, standstill = asyncio.run(read_all())
    return _Figures(api.posts - posts_before, seconds, standstill)


async def _all_at_once(readable: _Readable) -> tuple[float, float]:
    start, start_tasks = threading.Event(), asyncio.Event()
    asked: list[float] = []
    answered: list[float] = []

    def read_in_thread() -> None:
        start.wait()
        asked.append(perf_counter())
        readable.read()
        answered.append(perf_counter())

    async def read_in_task() -> None:
        await start_tasks.wait()
        asked.append(perf_counter())
        await readable.aread()
        answered.append(perf_counter())

    threads = [threading.Thread(target=read_in_thread) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    tasks: list[Any] = [asyncio.create_task(read_in_task()) for _ in range(TASKS)]
    standstills: list[float] = []
    heart = asyncio.create_task(beat(standstills))
    await asyncio.sleep(10 * HEARTBEAT)
    standstills.clear()
    start.set()
    start_tasks.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(2 * HEARTBEAT)
    heart.cancel()
    for thread in threads:
        thread.join()
    return max(answered) - min(asked), max(standstills)


async def beat(standstills: list[float]) -> None:
    """Note again and again for how many seconds the event loop had no time for this task."""
    while True:
        slept = perf_counter()
        await asyncio.sleep(HEARTBEAT)
        standstills.append(perf_counter() - slept - HEARTBEAT)
