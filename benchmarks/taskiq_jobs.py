"""Jobs of taskiq, from where they are sent to where they end, over a Redis on the loopback."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from taskiq.receiver import Receiver
from taskiq_redis import ListQueueBroker

from benchmarks.api import sessions_api
from benchmarks.measure import Effort, compare, own, paired_medians
from benchmarks.redis_server import redis_url
from benchmarks.row import OURS, Row, limited
from hl_sessions import SessionManager
from hl_sessions.integrations.taskiq import SessionMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskiq import TaskiqMiddleware

    from benchmarks.measure import Run

__all__ = ["taskiq_rows"]

BARE = "bare broker"


def taskiq_rows(effort: Effort) -> Iterator[Row]:
    """Measure an empty job, in a session that is known; its sender and its worker share an event loop."""
    effort = replace(effort, rounds=effort.rounds * 10, turn=0)  # a job each
    loop = asyncio.new_event_loop()
    with redis_url() as url, sessions_api() as api, SessionManager(api.base_url) as manager:
        middlewares: dict[str, list[TaskiqMiddleware]] = {BARE: [], OURS: [SessionMiddleware(manager)]}
        contenders = {name: _Contender(url, name, each, loop) for name, each in middlewares.items()}
        with manager.session() as session:
            if session.id is None:
                raise RuntimeError("the session could not be created")
            runs = {name: contender.run for name, contender in contenders.items()}
            figures = paired_medians(compare(runs, effort), BARE)
        for contender in contenders.values():
            contender.close()
    loop.close()
    title = "taskiq: an empty job, enqueue to end, the session known"
    yield limited(title, figures, times=1.05, reference=BARE)


class _Contender:
    """A broker and its worker."""

    def __init__(
        self, url: str, name: str, middlewares: list[TaskiqMiddleware], loop: asyncio.AbstractEventLoop
    ) -> None:
        broker = ListQueueBroker(url, queue_name=name).with_middlewares(*middlewares)
        ended: asyncio.Queue[None] = asyncio.Queue()

        async def job() -> None:
            ended.put_nowait(None)

        task = broker.register_task(job, name)

        async def run(number: int) -> float:
            started = perf_counter()
            for _ in range(number):
                await task.kiq()
                await ended.get()
            return perf_counter() - started

        self._loop = loop
        self._broker = broker
        self._finish = asyncio.Event()
        self._worker = loop.create_task(Receiver(broker, max_async_tasks=10).listen(self._finish))
        own_run = own(run)
        self.run: Run = lambda number: loop.run_until_complete(own_run(number))

    def close(self) -> None:
        """Stop the worker."""
        self._finish.set()
        self._loop.run_until_complete(self._worker)
        self._loop.run_until_complete(self._broker.shutdown())
