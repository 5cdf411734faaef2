"""Jobs of dramatiq, from where they are sent to where they end, over a Redis on the loopback."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import repeat
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dramatiq import Middleware, Worker, actor
from dramatiq.brokers.redis import RedisBroker

from benchmarks.api import sessions_api
from benchmarks.measure import Effort, compare, own, paired_medians
from benchmarks.redis_server import redis_url
from benchmarks.row import OURS, Row, limited
from hl_sessions import SessionManager
from hl_sessions.integrations.dramatiq import SessionMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Run

__all__ = ["dramatiq_job_rows"]

BARE = "bare broker"
JOBS = 20  # of a turn


def dramatiq_job_rows(effort: Effort) -> Iterator[Row]:
    """Measure jobs that do nothing, each sent to a worker that waits, in a session that is known."""
    effort = replace(effort, turn=0)
    with (
        redis_url() as url,
        sessions_api() as api,
        SessionManager(api.base_url) as manager,
        manager.session() as session,
    ):
        if session.id is None:
            raise RuntimeError("the session could not be created")
        runs = {BARE: _run(url, BARE), OURS: _run(url, OURS, SessionMiddleware(manager))}
        figures = paired_medians(compare(runs, effort), BARE)
    title = "dramatiq: an empty job, enqueue to end, the session known"
    yield limited(title, figures, times=1.05, reference=BARE)


class _Ends(Middleware):
    """Know when a worker is done with a job."""

    def __init__(self) -> None:
        self.of_job = threading.Semaphore(0)

    def after_ack(self, *_: object) -> None:
        self.of_job.release()


def _run(url: str, namespace: str, *middleware: Middleware) -> Run:
    ends = _Ends()
    broker = RedisBroker(url=url, namespace=namespace)
    for each in (*middleware, ends):
        broker.add_middleware(each)
    job: Any = actor(actor_name="job", broker=broker)(lambda: None)

    def run(number: int) -> float:
        worker = Worker(broker, worker_threads=1, worker_timeout=1)  # looks for jobs each millisecond
        worker.start()
        started = perf_counter()
        for _ in repeat(None, number * JOBS):
            job.send()
            ends.of_job.acquire()
        seconds = perf_counter() - started
        worker.stop()  # so that it takes no time from the others
        broker.middleware.pop()  # which the worker has added
        return seconds / JOBS

    return own(run)
