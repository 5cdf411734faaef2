"""How long the event loop stands still while many sessions are created."""

from __future__ import annotations

import asyncio
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.api import sessions_api
from benchmarks.row import OURS, SECONDS, Row, within
from benchmarks.simultaneous import HEARTBEAT, beat
from hl_sessions import SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Effort

__all__ = ["event_loop_rows"]

LATENCY = 0.02  # seconds
SESSIONS = 500


def event_loop_rows(effort: Effort) -> Iterator[Row]:
    """Measure the longest standstill during simultaneous creations."""
    with sessions_api(LATENCY) as api, SessionManager(api.base_url, timeout=60) as manager:
        standstills = [asyncio.run(_standstill(manager)) for _ in range(max(1, effort.rounds // 40))]
    title = f"{SESSIONS} sessions created at once through aid(), API at {LATENCY * 1000:.0f} ms"
    yield within(
        f"{title}: longest standstill of the event loop", SECONDS, {OURS: median(standstills)}, at_most=0.02
    )


async def _standstill(manager: SessionManager) -> float:
    async def create() -> None:
        async with manager.session() as session:
            if await session.aid() is None:
                raise RuntimeError("the session could not be created")

    standstills: list[float] = []
    heart = asyncio.create_task(beat(standstills))
    await asyncio.sleep(10 * HEARTBEAT)
    standstills.clear()
    await asyncio.gather(*(create() for _ in range(SESSIONS)))
    await asyncio.sleep(2 * HEARTBEAT)
    heart.cancel()
    return max(standstills)
