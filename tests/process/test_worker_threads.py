"""The threads that do what an event loop cannot wait for."""

import threading
from typing import Any

import pytest

from hl_sessions.process.worker_threads import MAX_WORKERS, WorkerThreads


def test_an_error_is_reported_and_costs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception is reported like in any thread, and the number of workers stays."""
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


def test_however_much_work_there_are_only_so_many_threads() -> None:
    """A thread does one piece after another; more than ``MAX_WORKERS`` of them are never started."""
    workers = WorkerThreads()
    threads = set()
    done = threading.Semaphore(0)

    def work() -> None:
        threads.add(threading.current_thread())
        done.release()

    pieces = 10 * MAX_WORKERS
    for _ in range(pieces):
        workers.submit(work)
    assert all(done.acquire(timeout=20) for _ in range(pieces))
    workers.close()

    assert len(threads) <= MAX_WORKERS
