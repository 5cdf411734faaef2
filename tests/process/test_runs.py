"""Coroutines that event loops run, and that threads finish."""

import asyncio
from typing import Any

import pytest

from hl_sessions.process import runs
from hl_sessions.process.outcome import Outcome
from hl_sessions.process.waits import Known
from hl_sessions.process.worker_threads import WorkerThreads
from tests.waiting import StillClock


def test_what_a_thread_finishes_waits_no_longer_than_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a wait of 50 seconds 30 have passed on the event loop."""
    clock = StillClock()
    monkeypatch.setattr(runs, "time", clock)
    waits: list[float] = []

    class Noted(Known):
        def block(self) -> None:
            waits.append(self.seconds)

    async def work() -> None:
        await Noted(Outcome[Any](), 50)

    async def main() -> None:
        loop = runs.current_loop()
        assert loop is not None
        run = runs.Run(work(), loop, WorkerThreads())
        clock.offset += 30
        run.finish()

    asyncio.run(main())
    assert waits == [20]
