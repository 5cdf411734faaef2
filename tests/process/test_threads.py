"""A process in which no thread can be started."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hl_sessions import APIConnectionError
from hl_sessions.process.threads import start_thread
from hl_sessions.process.worker_threads import WorkerThreads
from tests.no_threads import MORE_THAN_THERE_IS, no_threads
from tests.waiting import PATIENCE

# A conversation store outside of the process is waited for in a thread.
READS = f"""
import asyncio, logging, sys, threading
import hl_sessions, hl_sessions.stores

async def read(manager, number):
    async with manager.session(key=number) as session:
        try:
            return await session.aid()
        except hl_sessions.APIConnectionError as error:
            return error

logging.basicConfig(format="%(message)s", stream=sys.stdout)
threading.stack_size({MORE_THAN_THERE_IS})
for on_error in ("warn", "raise"):
    store = hl_sessions.stores.SQLiteStore(sys.argv[1])
    options = dict(base_url="http://127.0.0.1:9/v4", on_error=on_error, store=store)
    with store, hl_sessions.SessionManager(**options) as manager:
        print(*{{repr(asyncio.run(read(manager, number))) for number in range(100)}})
"""


def test_it_is_said_once(tmp_path: Path) -> None:
    """However many reads of event loops get no ID; it is no outage of the sessions API, nor of the store."""
    command = [sys.executable, "-c", READS, str(tmp_path / "store.db")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    warning, *results = run.stdout.splitlines()
    assert warning == (
        "no thread can be started, and reads that need one get no session ID (said once per process):"
        " can't start new thread"
    )
    assert results == [
        "None",
        'APIConnectionError("no thread can be started: can\'t start new thread")',
    ]
    assert run.stderr == ""


def test_calls_of_the_client_say_so() -> None:
    """They raise an error of ours."""
    with no_threads(), pytest.raises(APIConnectionError, match="can't start new thread"):
        WorkerThreads().run(print).send(None)


def test_work_waits_for_the_threads_that_there_are() -> None:
    """Where one more cannot be started; what failed to start one is forgotten."""
    workers = WorkerThreads()
    go_on, done = threading.Event(), threading.Semaphore(0)
    workers.submit(go_on.wait, PATIENCE)
    with no_threads():
        for _ in range(3):
            workers.submit(done.release)
    go_on.set()
    assert all(done.acquire(timeout=PATIENCE) for _ in range(3))
    workers.submit(done.release)
    assert done.acquire(timeout=PATIENCE)
    workers.close()


def test_a_thread_that_cannot_be_started_is_none() -> None:
    """Nothing is raised."""
    with no_threads():
        assert start_thread(print, "never") is None
