"""Jobs run in the session of their sender: a real worker, on a real PostgreSQL."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("procrastinate")

from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Job
from procrastinate.testing import InMemoryConnector

from hl_sessions import ConfigurationError, SessionManager, current_session, current_session_id, log
from hl_sessions.integrations.procrastinate import connect
from tests.servers import PostgreSQL
from tests.sessions_api import Gate, SessionsAPI, create_sessions_and_logs, fail, stored_logs
from tests.waiting import PATIENCE

Seen = list[Any]


@pytest.fixture(scope="module")
def database_url(postgresql: PostgreSQL) -> str:
    """The URL of a database for jobs."""
    url = postgresql.new_database()
    with App(connector=PsycopgConnector(conninfo=url)).open() as app:
        app.schema_manager.apply_schema()
    return url


@pytest.fixture
def seen() -> Seen:
    """The reports of the jobs."""
    return []


@pytest.fixture
def app(database_url: str, seen: Seen) -> App:
    app = make_app(PsycopgConnector(conninfo=database_url), seen)
    connect(app)
    return app


def make_app(connector: Any, seen: Seen) -> App:
    app = App(connector=connector)

    @app.task(name="read")
    def read() -> None:
        seen.append(current_session_id())

    @app.task(name="read_in_coroutine")
    async def read_in_coroutine() -> None:
        seen.append(current_session_id())

    @app.task(name="log_params")
    def log_params() -> None:
        session = current_session()
        seen.append(session and session.log_params())

    @app.task(name="log_datapoint")
    def log_datapoint() -> None:
        seen.append(log(project="bot", source="in a job"))

    @app.task(name="fail_twice", retry=2)
    def fail_twice() -> None:
        """Note the session in each of three attempts, and fail in a scope of its own."""
        seen.append(current_session_id())
        if len(seen) % 3:
            with SessionManager(timeout=60).session(new=True):
                raise ValueError

    return app


def defer(app: App, *names: str, **arguments: Any) -> None:
    with app.open():
        for name in names:
            app.configure_task(name).defer(**arguments)


def work(app: App, **options: Any) -> None:
    """Run a worker until no job waits any more."""

    async def run() -> None:
        async with app.open_async():
            await app.run_worker_async(
                wait=False, install_signal_handlers=False, listen_notify=False, **options
            )

    asyncio.run(run())


def test_a_job_runs_in_the_session_of_whoever_deferred_it(
    app: App, seen: Seen, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Deferring it creates the session, if nothing has before; the worker creates none."""
    with manager.session() as session:
        defer(app, "read", "read_in_coroutine")
        assert session.peek() is not None
    work(app)
    assert seen == [session.peek()] * 2
    assert sessions_api.posts == 1


def test_coroutines_defer_while_the_event_loop_keeps_running(
    app: App, seen: Seen, manager: SessionManager, gate: Gate
) -> None:
    """One job or several."""

    async def open_gate() -> None:
        await asyncio.to_thread(gate.arrived.wait, PATIENCE)
        gate.opened.set()

    async def defer() -> str | None:
        async with app.open_async(), manager.session() as session:
            read = app.configure_task("read")
            await asyncio.gather(read.defer_async(), open_gate())
            await read.batch_defer_async({}, {})
            return session.peek()

    session_id = asyncio.run(defer())
    work(app)
    assert seen == [session_id] * 3
    assert session_id is not None


def test_datapoints_of_a_job_are_nested_under_that_of_its_sender(
    app: App, seen: Seen, manager: SessionManager, sessions_api: SessionsAPI, other_manager: SessionManager
) -> None:
    """In its session, and by the manager of the worker."""
    sessions_api.answer = create_sessions_and_logs
    connect(app, other_manager)
    with manager.session() as session, manager.datapoint(project="bot", source="sender") as sender:
        defer(app, "log_datapoint")
    work(app)
    assert other_manager.flush(PATIENCE)
    [log] = [log for log in stored_logs(sessions_api) if log["reference_id"] == seen[0]]
    assert log["session_id"] == session.peek()
    assert log["parent_reference_id"] == sender.reference_id


def test_a_job_that_was_deferred_outside_every_scope_has_no_session(
    app: App, seen: Seen, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Regardless of what the worker has run before, and of what started it."""
    with manager.session() as session:
        defer(app, "read", "read_in_coroutine")
    defer(app, "read", "read_in_coroutine", "log_params")
    with manager.session():
        work(app)
    assert seen == [session.id, session.id, None, None, None]
    assert sessions_api.posts == 1


def test_two_jobs_at_once_keep_their_own(app: App, seen: Seen, manager: SessionManager) -> None:
    """In one event loop."""

    @app.task(name="meet")
    async def meet(number: int) -> None:
        """Wait for the other job."""
        arrived.append(number)
        while len(arrived) < 2:  # noqa: ASYNC110 - it is of the same event loop
            await asyncio.sleep(0)
        seen.append((number, current_session_id()))

    arrived: list[int] = []
    expected = set()
    for number in range(2):
        with manager.session() as session:
            defer(app, "meet", number=number)
            expected.add((number, session.id))
    work(app, concurrency=2)
    assert set(seen) == expected


def test_retries_have_the_session_of_the_first_attempt(app: App, seen: Seen, manager: SessionManager) -> None:
    """Also where the job fails in a scope of its own, and where it had no session."""
    with manager.session() as session:
        defer(app, "fail_twice")
    work(app)
    defer(app, "fail_twice")
    work(app)
    assert seen == [session.id] * 3 + [None] * 3


def test_a_job_of_a_job_has_it(app: App, seen: Seen, manager: SessionManager) -> None:
    """One that a job defers, in a thread or in the event loop."""

    @app.task(name="defer")
    def in_thread() -> None:
        app.configure_task("read").defer()

    @app.task(name="defer_in_coroutine")
    async def in_coroutine() -> None:
        await app.configure_task("read_in_coroutine").defer_async()

    with manager.session() as session:
        defer(app, "defer", "defer_in_coroutine")
    work(app)
    defer(app, "defer", "defer_in_coroutine")
    work(app)
    assert seen == [session.id, session.id, None, None]


def test_periodic_jobs_have_none(app: App, seen: Seen, manager: SessionManager) -> None:
    """Also where the worker that defers them was started in a scope of somebody."""
    job = Job(task_name="read", queue="default", lock=None, queueing_lock=None, task_kwargs={"timestamp": 1})

    @app.task(name="periodic")
    def periodic(timestamp: int) -> None:
        seen.append((timestamp, current_session_id()))

    async def run() -> None:
        async with app.open_async():
            await app.job_manager.defer_periodic_job(job.evolve(task_name="periodic"), "", 1)

    with manager.session():
        asyncio.run(run())
    work(app)
    assert seen == [(1, None)]


def test_a_session_that_could_not_be_created_goes_by_its_reference(
    app: App, seen: Seen, sessions_api: SessionsAPI
) -> None:
    """The datapoints of the job and those of its sender name the same."""
    sessions_api.answer = fail()
    for on_error in ("warn", "raise"):
        settings: Any = {"retries": 0, "on_error": on_error}
        with SessionManager(sessions_api.base_url, **settings) as manager, manager.session() as session:
            defer(app, "log_params")
        work(app)
        assert seen.pop() == {"session_reference_id": session.reference_id}


def test_middleware_of_the_application_runs_in_it(database_url: str, manager: SessionManager) -> None:
    """That which is in the worker's defaults, and sees the arguments as they were given."""
    seen: Seen = []

    async def middleware(call_next: Any, context: Any, _worker: Any) -> Any:
        seen.append((current_session_id(), {**context.job.task_kwargs}))
        return await call_next()

    defaults: Any = {"worker_middleware": [middleware]}
    app = App(connector=PsycopgConnector(conninfo=database_url), worker_defaults=defaults)
    app.task(name="nothing")(lambda **_: None)
    for _ in range(2):
        connect(app)
    with manager.session() as session:
        defer(app, "nothing", mine=1)
    work(app)
    assert seen == [(session.id, {"mine": 1})]
    assert defaults == {"worker_middleware": [middleware]}


def test_jobs_that_wait_in_memory_have_it(seen: Seen, manager: SessionManager) -> None:
    """As in the tests of an application; their retries, too."""
    app = make_app(InMemoryConnector(), seen)
    connect(app)
    with manager.session() as session:
        defer(app, "fail_twice")
    work(app)
    defer(app, "read")
    work(app)
    assert seen == [session.id] * 3 + [None]


@pytest.mark.slow
def test_what_was_logged_is_sent_before_a_worker_ends(
    app: App, database_url: str, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """By a process of the command, which ends right after that."""
    sessions_api.answer = create_sessions_and_logs
    with manager.session() as session:
        defer(app, "log_datapoint")
    command = [sys.executable, "-m", "procrastinate", "--app", "procrastinate_application.app"]
    worker = subprocess.run(
        [*command, "worker", "--one-shot"],
        env={**os.environ, "DATABASE_URL": database_url, "HL_SESSIONS_BASE_URL": sessions_api.base_url},
        cwd=Path(__file__).parent,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert worker.returncode == 0, worker.stderr
    assert [log["session_id"] for log in stored_logs(sessions_api)] == [session.id]


def test_what_is_no_manager_is_refused() -> None:
    """And nothing is connected; so is what is no application."""
    app = make_app(InMemoryConnector(), [])
    jobs, wrong = app.job_manager, "manager"
    with pytest.raises(TypeError, match=r"^app must be an App of procrastinate, not a str$"):
        connect(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"^manager must be a SessionManager, not str$"):
        connect(app, wrong)  # type: ignore[arg-type]
    assert (app.job_manager, app.worker_defaults) == (jobs, {})
