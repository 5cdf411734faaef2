"""The cost of an outage: an API that accepts connections and never answers."""

from __future__ import annotations

import logging
import threading
import time
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.api import listening_socket
from benchmarks.measure import calls, compare
from benchmarks.row import OURS, SECONDS, Row, within
from hl_sessions import SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Effort

__all__ = ["outage_rows"]

THREADS = 64
TIMEOUT = 1.0  # seconds


def outage_rows(effort: Effort) -> Iterator[Row]:
    """Measure the longest wait before the outage is recognised, and a read after that."""
    logging.getLogger("hl_sessions").addHandler(logging.NullHandler())
    with listening_socket() as black_hole:
        base_url = f"http://127.0.0.1:{black_hole.getsockname()[1]}/v4"
        with SessionManager(base_url, timeout=TIMEOUT) as manager:
            waits = {OURS: max(_waits(manager))}
            title = f"API that never answers, time-out {TIMEOUT:.0f} s, {THREADS} threads"
            yield within(f"{title}: longest wait", SECONDS, waits, at_most=1.05 * TIMEOUT)

            def scope_with_read() -> None:
                with manager.session() as session:
                    if session.id is not None:
                        raise RuntimeError("there is no session to be had")

            # Shorter than the first cool-off, after which one read waits for another trial.
            seconds = compare({OURS: calls(scope_with_read)}, effort.within(0.3))[OURS]
            yield within(
                f"{title}: a scope with a read afterwards", SECONDS, {OURS: min(seconds)}, at_most=2e-5
            )


def _waits(manager: SessionManager) -> list[float]:
    """Return how long reads wait that begin evenly over the time-out of the first."""
    waits: list[float] = []

    def read(delay: float) -> None:
        time.sleep(delay)
        with manager.session() as session:
            started = perf_counter()
            session.id  # noqa: B018 - to read is to wait
            waits.append(perf_counter() - started)

    delays = [0.9 * TIMEOUT * number / THREADS for number in range(THREADS)]
    threads = [threading.Thread(target=read, args=(delay,)) for delay in delays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits
