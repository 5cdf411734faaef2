"""The threads that do what an event loop cannot wait for."""

import threading
from typing import Any

import pytest

from hl_sessions.event_loop import MAX_WORKERS, WorkerThreads


def test_an_error_is_reported_and_costs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What raises is told as in any thread, and there are as many workers as before."""
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    workers = WorkerThreads()
    done = threading.Barrier(MAX_WORKERS + 1)

    def fail() -> None:
        raise SystemExit("mistake")

    for _ in range(2 * MAX_WORKERS):
        workers.submit(fail)
    for _ in range(MAX_WORKERS):
        workers.submit(done.wait, 20)
    done.wait(20)
    workers.close()

    assert [str(report.exc_value) for report in reported] == ["mistake"] * (2 * MAX_WORKERS)


def test_work_of_a_moment_needs_few_threads() -> None:
    """Each piece is done by a thread that is free; a thread more is started only when none is."""
    workers = WorkerThreads()
    threads = set()
    for _ in range(100):
        done = threading.Event()

        def work(done: threading.Event = done) -> None:
            threads.add(threading.get_ident())
            done.set()

        workers.submit(work)
        assert done.wait(20)
    workers.close()

    assert len(threads) < MAX_WORKERS
