"""First reads that find a session ready, at a steady rate, in an application that is busy otherwise, too."""

from __future__ import annotations

import time
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING

from flask import Flask, request

from benchmarks.api import sessions_api
from benchmarks.row import OURS, SECONDS, Row, within
from hl_sessions import SessionManager, current_session_id
from hl_sessions.integrations.flask import HLSessions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Effort

__all__ = ["prefetching_rows"]

LATENCY = 0.02  # seconds
RATE = 50  # requests a second
PAUSE = 0.0005  # seconds between requests that do not read, which the application serves meanwhile
WARM_UP = 50  # requests in which it learns the rate
OK = 200
WITHOUT = "without prefetching"


def prefetching_rows(effort: Effort) -> Iterator[Row]:
    """Measure the first read of each request, with sessions kept ready and without."""
    requests = max(4, 2 * effort.rounds)
    with sessions_api(LATENCY) as api:
        with SessionManager(api.base_url, prefetch=8) as manager:
            ready = _first_reads(manager, WARM_UP + requests)[WARM_UP:]
        with SessionManager(api.base_url) as manager:
            waiting = _first_reads(manager, max(2, requests // 10))
    title = f"first read, API at {LATENCY * 1000:.0f} ms, {RATE} requests a second, prefetch=8"
    yield within(f"{title}: median", SECONDS, {OURS: median(ready), WITHOUT: median(waiting)}, at_most=1e-5)
    slow = {OURS: quantiles(ready, n=100)[98], WITHOUT: max(waiting)}
    yield within(f"{title}: 99th percentile", SECONDS, slow, at_most=1e-4)


def _first_reads(manager: SessionManager, number: int) -> list[float]:
    """Give how long the first read takes in each of so many requests to a Flask application."""
    app = Flask("benchmark")
    HLSessions(app, manager)
    seconds: list[float] = []

    @app.post("/chat")
    def chat() -> dict[str, str]:
        question = request.get_json()["question"]
        started = perf_counter()
        session_id = current_session_id()
        seconds.append(perf_counter() - started)
        if session_id is None:
            raise RuntimeError("the session could not be created")
        return {"answer": question}

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    client = app.test_client()
    due = perf_counter()
    for _ in range(number):
        due += 1 / RATE
        # After a sleep, a machine that does nothing else takes ten times as long for any first step.
        while perf_counter() < due - PAUSE:
            client.get("/health")
            time.sleep(PAUSE)
        if client.post("/chat", json={"question": "Why?"}).status_code != OK:
            raise RuntimeError("the request failed")
    return seconds
