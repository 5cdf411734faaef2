"""First reads that find a session ready, at a steady rate, in an application that is busy otherwise, too."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
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
    context = multiprocessing.get_context("spawn")
    # The application is a process of its own, which holds nothing of what is measured elsewhere.
    with sessions_api(LATENCY) as api, ProcessPoolExecutor(1, mp_context=context) as application:
        ready = application.submit(_first_reads, api.base_url, 8, WARM_UP + requests).result()[WARM_UP:]
        waiting = application.submit(_first_reads, api.base_url, 0, max(2, requests // 10)).result()
    title = f"first read, API at {LATENCY * 1000:.0f} ms, {RATE} requests a second, prefetch=8"
    yield within(f"{title}: median", SECONDS, {OURS: median(ready), WITHOUT: median(waiting)}, at_most=1e-5)
    slow = {OURS: quantiles(ready, n=100)[98], WITHOUT: max(waiting)}
    yield within(f"{title}: 99th percentile", SECONDS, slow, at_most=1e-4)


def _first_reads(base_url: str, prefetch: int, number: int) -> list[float]:
    """Return how long the first read takes in each of so many requests to a Flask application."""
    with SessionManager(base_url, prefetch=prefetch) as manager:
        return _serve(manager, number)


def _serve(manager: SessionManager, number: int) -> list[float]:
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
