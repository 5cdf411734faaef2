"""The cost of datapoints for the application, on their way from ``log()`` to the API and while they wait."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from dataclasses import replace
from time import process_time
from typing import TYPE_CHECKING

from benchmarks.api import listening_socket
from benchmarks.loggers import REQUESTS, Ours, RequestsPost, content
from benchmarks.measure import Effort, compare, own, paired_medians
from benchmarks.memory import traced_growth
from benchmarks.row import OURS, Row, limited
from benchmarks.server import DATABASES
from benchmarks.server_process import serving
from hl_sessions import SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.loggers import Logger
    from benchmarks.measure import Run

__all__ = ["log_sending_rows"]

SIZE = 2_000  # bytes
ROUNDS = 20
WAITING = 10_000
JSON = "their JSON"


def log_sending_rows(effort: Effort) -> Iterator[Row]:
    """Measure the CPU time of the process until all is stored, and the memory of waiting datapoints."""
    yield _cpu_row(replace(effort, rounds=min(effort.rounds, ROUNDS), turn=effort.turn * 50))
    yield _memory_row(min(effort.scopes, WAITING))


def _cpu_row(effort: Effort) -> Row:
    with ExitStack() as stack:
        server = stack.enter_context(serving(stack.enter_context(DATABASES["SQLite"]())))
        server.wait()
        manager = stack.enter_context(SessionManager(f"{server.url}/v4"))
        stack.enter_context(manager.session())
        runs = {OURS: _stores(Ours(manager)), REQUESTS: _stores(RequestsPost(server.url))}
        for run in runs.values():
            run(1)
        figures = paired_medians(compare(runs, effort), REQUESTS)
    return limited("storing a datapoint of 2 kB: CPU of the application", figures, 1 / 8, reference=REQUESTS)


def _stores(logger: Logger) -> Run:
    """Return a run that logs, and waits until all is stored."""
    logged = content(SIZE)

    def run(number: int) -> float:
        started = process_time()
        for _ in range(number):
            logger.log(logged)
        logger.flush()
        return process_time() - started

    return own(run)


def _memory_row(number: int) -> Row:
    logging.getLogger("hl_sessions").addHandler(logging.NullHandler())
    with listening_socket() as black_hole:
        host, port = black_hole.getsockname()
        with SessionManager(f"http://{host}:{port}/v4", queue_size=1 << 30, timeout=1.0) as manager:
            ours = Ours(manager)
            ours.log(content(SIZE))  # what is made once is made now

            def log_all() -> None:
                for _ in range(number):
                    ours.log(content(SIZE))

            waiting = traced_growth(log_all)
    size = number * len(json.dumps(content(SIZE).fields()))
    figures = {OURS: waiting / 2**10, JSON: size / 2**10}
    title = f"{number:,} datapoints of 2 kB that wait: memory"
    return Row(title, "KiB", figures, at_most=1.5 * figures[JSON], reference=JSON)
