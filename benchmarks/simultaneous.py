"""Threads and tasks that read one new session at the same moment."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import requests

from benchmarks.api import sessions_api
from benchmarks.row import OURS, SECONDS, Row, limited, within
from hl_sessions import SessionManager

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from benchmarks.api import SessionsAPI
    from benchmarks.measure import Effort

__all__ = ["simultaneous_rows"]

THREADS = 64
TASKS = 256
LATENCY = 0.02  # seconds
HEARTBEAT = 0.001  # seconds
UNGUARDED = "unguarded"
ONE_READ = "one read"


def simultaneous_rows(effort: Effort) -> Iterator[Row]:
    """Measure how many sessions are created, how long all readers take, and how the event loop fares."""
    readers = f"{THREADS} threads and {TASKS} tasks read a new session, API at {LATENCY * 1000:.0f} ms"
    with sessions_api(LATENCY) as api, SessionManager(api.base_url) as manager, requests.Session() as http:
        _one_read(manager)
        rounds = [_round(api, manager, http) for _ in range(max(1, effort.rounds // 10))]
    most_posts = {name: max(one[name].posts for one in rounds) for name in (OURS, UNGUARDED)}
    wall = {name: median(one[name].wall for one in rounds) for name in (ONE_READ, OURS, UNGUARDED)}
    standstill = {name: median(one[name].standstill for one in rounds) for name in (OURS, UNGUARDED)}
    yield within(f"{readers}: sessions created", "POSTs", most_posts, at_most=1)
    yield limited("the same: until the last has its ID", wall, times=1.2, reference=ONE_READ)
    yield within("the same: longest standstill of the event loop", SECONDS, standstill, at_most=0.005)


@dataclass(frozen=True)
class _Figures:
    posts: int
    wall: float
    standstill: float


def _round(api: SessionsAPI, manager: SessionManager, http: requests.Session) -> dict[str, _Figures]:
    def counted(seconds: Callable[[], tuple[float, float]]) -> _Figures:
        posts_before = api.posts
        wall, standstill = seconds()
        return _Figures(api.posts - posts_before, wall, standstill)

    def read_ours() -> tuple[float, float]:
        with manager.session() as session:
            return asyncio.run(_all_at_once(lambda: session.id, session.aid))

    def read_unguarded() -> tuple[float, float]:
        unguarded = _Unguarded(http, api.url)
        return asyncio.run(_all_at_once(unguarded.read, unguarded.aread))

    return {
        ONE_READ: counted(lambda: _one_read(manager)),
        OURS: counted(read_ours),
        UNGUARDED: counted(read_unguarded),
    }


def _one_read(manager: SessionManager) -> tuple[float, float]:
    started = perf_counter()
    with manager.session() as session:
        if session.id is None:
            raise RuntimeError("the session could not be created")
    return (seconds := perf_counter() - started), seconds


class _Unguarded:
    """Creates what is not there yet, as it is first written."""

    def __init__(self, http: requests.Session, url: str) -> None:
        self._http = http
        self._url = url
        self._id: str | None = None

    def read(self) -> str:
        if self._id is None:
            self._id = str(self._http.post(self._url).json()["id"])
        return self._id

    async def aread(self) -> str:
        return await asyncio.to_thread(self.read)


async def _all_at_once(
    read: Callable[[], object], aread: Callable[[], Awaitable[object]]
) -> tuple[float, float]:
    """Give the seconds from the start to the last answer, and the longest standstill of the loop."""
    start, start_tasks = threading.Event(), asyncio.Event()
    ends: list[float] = []

    def read_in_thread() -> None:
        start.wait()
        read()
        ends.append(perf_counter())

    async def read_in_task() -> None:
        await start_tasks.wait()
        await aread()
        ends.append(perf_counter())

    threads = [threading.Thread(target=read_in_thread) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    tasks: list[Any] = [asyncio.create_task(read_in_task()) for _ in range(TASKS)]
    standstills: list[float] = []
    heart = asyncio.create_task(_beat(standstills))
    await asyncio.sleep(10 * HEARTBEAT)
    standstills.clear()
    started = perf_counter()
    start.set()
    start_tasks.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(2 * HEARTBEAT)
    heart.cancel()
    for thread in threads:
        thread.join()
    return max(ends) - started, max(standstills)


async def _beat(standstills: list[float]) -> None:
    while True:
        slept = perf_counter()
        await asyncio.sleep(HEARTBEAT)
        standstills.append(perf_counter() - slept - HEARTBEAT)
