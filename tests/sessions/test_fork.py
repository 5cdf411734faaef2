"""Processes that fork at any moment, start others, or load the application before they fork."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from hl_sessions import SessionManager, SessionThreadPoolExecutor, current_session_id, unbound
from tests.forking import FORKS, exit_code_of_child
from tests.gunicorn_server import running_gunicorn
from tests.interpreters import needs
from tests.sessions_api import Gate, SessionsAPI, create_sessions, fail
from tests.waiting import PATIENCE, in_threads, wait_until

pytestmark = FORKS

Managers = Callable[..., SessionManager]


def read(manager: SessionManager, key: str | None = None) -> str | None:
    with manager.session(new=True) if key is None else manager.session(key=key) as session:
        return session.id


def read_in_task(manager: SessionManager) -> str | None:
    async def main() -> str | None:
        async with manager.session(new=True) as session:
            return await session.aid()

    return asyncio.run(main())


def in_child(work: Callable[[], object]) -> int:
    """What the child exits with, -14 if it does not come to an end."""

    def work_in_time() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(PATIENCE))
        work()

    return exit_code_of_child(work_in_time)


@pytest.mark.slow
@pytest.mark.parametrize("prefetch", [0, 4])
def test_while_others_create(make_manager: Managers, sessions_api: SessionsAPI, prefetch: int) -> None:
    """Forty children of a process whose threads create all the time read in time, and have their own IDs."""
    manager = make_manager(prefetch=prefetch, idle_timeout=60)
    stopped = threading.Event()
    in_parent: set[str | None] = set()
    have_read = threading.Barrier(5)

    def go_on(read: Callable[[], str | None]) -> None:
        in_parent.add(read())
        have_read.wait(PATIENCE)
        while not stopped.is_set():
            in_parent.add(read())

    keys = iter(range(10**9))
    threads = [
        *in_threads(lambda: go_on(lambda: read(manager)), 2),
        *in_threads(lambda: go_on(lambda: read(manager, f"chat {next(keys)}"))),
        *in_threads(lambda: go_on(lambda: read_in_task(manager))),
    ]
    have_read.wait(PATIENCE)
    reading, writing = os.pipe()

    def work() -> None:
        ids = [read(manager), read(manager, "child"), read_in_task(manager)]
        os.write(writing, json.dumps(ids).encode() + b"\n")

    try:
        codes = [in_child(work) for _ in range(40)]
    finally:
        stopped.set()
        os.close(writing)
    for thread in threads:
        thread.result(PATIENCE)
    with os.fdopen(reading) as lines:
        ids = [session_id for line in lines for session_id in json.loads(line)]
    assert codes == [0] * 40
    assert None not in in_parent
    assert len({*ids}) == len(ids) == 120
    assert None not in ids
    assert not {*ids} & in_parent


def test_while_one_is_made(manager: SessionManager, sessions_api: SessionsAPI, gate: Gate) -> None:
    """A child forked while worker threads wait for an API that hangs asks it with threads of its own."""
    waiting = in_threads(lambda: read_in_task(manager), 4)
    wait_until(lambda: sessions_api.posts == 4)

    def open_gate() -> None:
        wait_until(lambda: sessions_api.posts > 4)
        gate.opened.set()

    opener = in_threads(open_gate)[0]

    def work() -> None:
        assert read_in_task(manager) is not None

    assert in_child(work) == 0
    opener.result(20)
    assert None not in {reader.result(20) for reader in waiting}


def test_during_an_outage(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """A child does not inherit an outage: it tries at once, and its parent does not know of it."""
    sessions_api.answer = fail()
    for _ in range(3):
        assert read(manager) is None
    sessions_api.answer = create_sessions

    def work() -> None:
        assert read(manager) is not None

    assert in_child(work) == 0
    assert sessions_api.posts == 4


def test_in_a_scope(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """A child forked in a scope whose ID is known knows it; where it is not, each process has its own."""
    with manager.session() as session, manager.session(new=True) as unread:
        known = session.id

        def work() -> None:
            assert session.id == known
            assert current_session_id() == unread.id is not None

        assert in_child(work) == 0
        assert in_child(work) == 0
        assert unread.id is not None
    assert sessions_api.posts == 1 + 3


def test_an_executor_used_before(manager: SessionManager) -> None:
    """Threads that carried a session do not come along: a new executor of the child works."""
    with SessionThreadPoolExecutor(2) as executor, manager.session() as session:
        assert executor.submit(current_session_id).result(20) == session.id

        def work() -> None:
            with SessionThreadPoolExecutor(2) as own, ThreadPoolExecutor(2) as plain:
                assert own.submit(current_session_id).result() == session.id
                assert plain.submit(unbound(current_session_id)).result() is None

        assert in_child(work) == 0


MULTIPROCESSING = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
from hl_sessions import SessionManager, with_session, current_session_id, configure

manager = configure(prefetch=2, timeout=60)

@with_session
def work(number):
    return current_session_id()

def put(queue):
    queue.put(work(0))

if __name__ == "__main__":
    first = work(0)
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    processes = [context.Process(target=put, args=(queue,)) for _ in range(2)]
    for process in processes:
        process.start()
    ids = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        ids += pool.map(work, range(4))
    ids += [first, work(0)]
    print(len(set(ids)), None in ids, *[process.exitcode for process in processes])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(sessions_api: SessionsAPI, tmp_path: Path, method: str) -> None:
    """Processes and process pools of each start method have sessions of their own, and end."""
    script = tmp_path / "script.py"
    script.write_text(MULTIPROCESSING)
    process = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", script, method],
        env={**os.environ, "HL_SESSIONS_BASE_URL": sessions_api.base_url},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (process.stdout, process.stderr) == ("8 False 0 0\n", "")


APPLICATION = """
import threading
from hl_sessions import configure, current_session_id
from hl_sessions.integrations.wsgi import HLSessionMiddleware

manager = configure(prefetch=2, timeout=60)
with manager.session() as session:
    before = session.id  # before the fork: connections, threads and ready sessions are there

def read(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield f"{current_session_id()} {before}".encode()

application = HLSessionMiddleware(read)
"""


@contextmanager
def gunicorn(folder: Path, base_url: str, *arguments: str) -> Iterator[str]:
    (folder / "preloaded.py").write_text(APPLICATION)
    # A worker that is started while gunicorn ends never learns of it: it is killed after that second.
    arguments = ("--preload", "--graceful-timeout=1", *arguments, "preloaded:application")
    with running_gunicorn(folder, *arguments, HL_SESSIONS_BASE_URL=base_url) as (host, port):
        yield f"http://{host}:{port}/"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--worker-class=sync", "--workers=2"), id="sync"),
        pytest.param(("--worker-class=gthread", "--workers=2", "--threads=4"), id="gthread"),
        pytest.param(("--worker-class=gevent", "--workers=1"), id="gevent", marks=needs("gevent")),
    ],
)
def test_gunicorn_that_preloads(
    sessions_api: SessionsAPI, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Workers of a process that has used its manager answer many requests at once, each with its own ID."""

    def get(url: str) -> list[str]:
        with urlopen(url, timeout=PATIENCE) as response:
            text: str = response.read().decode()
            return text.split()

    with gunicorn(tmp_path, sessions_api.base_url, *arguments) as url, ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(get, [url] * 60))
    ids = {session_id for session_id, _ in answers}
    assert len(ids) == 60
    assert "None" not in ids
    before: Any = {before for _, before in answers}
    assert len(before) == 1
    assert not before & ids
