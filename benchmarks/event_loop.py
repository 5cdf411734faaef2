"""Many sessions that are created at once on an event loop: how long that takes, and how the loop fares."""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.api import sessions_api
from benchmarks.measure import modules_left_alone
from benchmarks.row import OURS, SECONDS, Row, limited, within
from benchmarks.simultaneous import HEARTBEAT, ONE_READ, beat
from hl_sessions import SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Effort

__all__ = ["event_loop_rows"]

SESSIONS = 500


def event_loop_rows(effort: Effort) -> Iterator[Row]:
    """Measure until the last has its ID, and the longest standstill meanwhile."""
    for latency, times in ((0.02, 3.0), (1.0, 1.3)):
        rounds = max(1, effort.rounds // (40 if latency < 1 else 130))
        with sessions_api(latency) as api, SessionManager(api.base_url) as manager, modules_left_alone():
            measured = [asyncio.run(_burst(manager)) for _ in range(rounds)]
        one, all_of_them, standstill = (median(figures) for figures in zip(*measured, strict=True))
        title = f"{SESSIONS} sessions created at once through aid(), API at {latency * 1000:.0f} ms"
        yield limited(
            f"{title}: until the last has its ID",
            {ONE_READ: one, OURS: all_of_them},
            times=times,
            reference=ONE_READ,
        )
        yield within(
            f"{title}: longest standstill of the event loop", SECONDS, {OURS: standstill}, at_most=0.01
        )


async def _burst(manager: SessionManager) -> tuple[float, float, float]:
    """Return the seconds of one creation, of all, and of the longest standstill."""

    async def create() -> None:
        async with manager.session() as session:
            if await session.aid() is None:
                raise RuntimeError("the session could not be created")

    started = perf_counter()
    await create()
    one = perf_counter() - started
    standstills: list[float] = []
    heart = asyncio.create_task(beat(standstills))
    await asyncio.sleep(10 * HEARTBEAT)
    standstills.clear()
    started = perf_counter()
    await asyncio.gather(*(create() for _ in range(SESSIONS)))
    all_of_them = perf_counter() - started
    await asyncio.sleep(2 * HEARTBEAT)
    heart.cancel()
    return one, all_of_them, max(standstills)
