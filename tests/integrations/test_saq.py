"""Jobs run in the session of their sender: a real Redis between them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("saq")

from saq import CronJob, Job, Worker
from saq.queue.redis import RedisQueue

from hl_sessions import (
    ConfigurationError,
    SessionManager,
    configure,
    current_session,
    current_session_id,
    log,
)
from hl_sessions.carrying.message import CARRIED
from hl_sessions.datapoints import sender
from hl_sessions.integrations.saq import connect
from tests.sessions_api import Gate, SessionsAPI, create_sessions_and_logs, fail, stored_logs
from tests.waiting import PATIENCE

# SAQ calls what redis and Python have deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning"),
]

Context = dict[str, Any]
Run = Callable[[Callable[[RedisQueue], Coroutine[Any, Any, None]]], None]


def read(_: Context) -> str | None:
    return current_session_id()


async def read_in_coroutine(_: Context) -> str | None:
    return current_session_id()


async def read_twice(context: Context) -> list[str | None]:
    """Note the session, and fail in the first of two attempts."""
    job: Job = context["job"]
    noted: list[str | None] = job.meta.setdefault("noted", [])
    noted.append(current_session_id())
    if job.attempts == 1:
        raise ValueError
    return noted


async def read_together(context: Context) -> str | None:
    """Read where another job runs, too."""
    here: list[asyncio.Event] = context["here"]
    here.append(asyncio.Event())
    if len(here) == 2:
        for one in here:
            one.set()
    await here[-1].wait()
    return current_session_id()


async def enqueue(context: Context) -> list[str | None]:
    """Enqueue a job in a scope of its own, and one in that of this job."""
    async with context["manager"].session(new=True) as own:
        within = await result(context["worker"].queue, "read")
    return [own.id, within, await result(context["worker"].queue, "read")]


async def log_params(_: Context) -> dict[str, str]:
    session = current_session()
    return {} if session is None else session.log_params()


async def log_datapoint(_: Context) -> str:
    return log(project="bot", source="in a job")


async def describe(_: Context) -> str:
    session = current_session()
    return repr(session and session.manager)


FUNCTIONS = [read, read_in_coroutine, read_twice, read_together, enqueue, log_params, log_datapoint, describe]


@pytest.fixture
def run(redis_server: str) -> Run:
    """Runs a test with a queue that is connected."""

    def run(test: Callable[[RedisQueue], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            queue = connect(RedisQueue.from_url(f"{redis_server}/8", name=uuid4().hex))
            await queue.connect()
            await (
                queue.sweep()
            )  # which takes jobs for lost that are just being started; none for a minute now
            try:
                await test(queue)
            finally:
                await queue.disconnect()

        asyncio.run(main())

    return run


@asynccontextmanager
async def working(
    queue: RedisQueue, manager: SessionManager | None, **settings: Any
) -> AsyncIterator[Worker[Any]]:
    """Run a worker with a queue of its own, in a task of its own."""
    own = RedisQueue(queue.redis, name=queue.name)
    worker: Worker[Any] = Worker(**connect({"queue": own, "functions": FUNCTIONS, **settings}, manager))
    worker.context.update(manager=manager, here=[])
    running = asyncio.create_task(worker.start())
    try:
        yield worker
    finally:
        await worker.stop()
        await running


async def result(queue: RedisQueue, name: str, **settings: Any) -> Any:
    """Enqueue a job, and return what it returns."""
    return await queue.apply(name, timeout=PATIENCE, poll_interval=0.005, **settings)


@pytest.mark.parametrize("name", ["read", "read_in_coroutine"])
def test_a_job_runs_in_the_session_of_whoever_enqueued_it(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI, name: str
) -> None:
    """Enqueuing it creates the session, if nothing has before; the worker creates none."""

    async def test(queue: RedisQueue) -> None:
        async with working(queue, manager), manager.session() as session:
            job = await queue.enqueue(name, meta={"mine": 1})
            assert job is not None
            assert session.peek() is not None
            await job.refresh(until_complete=PATIENCE)
            assert job.result == session.peek()
            assert job.meta["mine"] == 1

    run(test)
    assert sessions_api.posts == 1


def test_a_job_that_was_enqueued_outside_every_scope_has_no_session(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Right after one that has one, in a worker that was itself started in a scope."""

    async def test(queue: RedisQueue) -> None:
        started_within = working(queue, manager, concurrency=1)
        async with manager.session():
            await started_within.__aenter__()
        for name in ("read", "read_in_coroutine"):
            async with manager.session() as session:
                assert await result(queue, name) == session.id
            assert await result(queue, name) is None
        job = await queue.enqueue("read")
        assert job is not None
        assert job.meta == {}
        await job.refresh(until_complete=PATIENCE)
        await started_within.__aexit__(None, None, None)

    run(test)
    assert sessions_api.posts == 2


def test_cron_jobs_have_no_session(run: Run, manager: SessionManager) -> None:
    """Though the worker was started in a scope."""

    async def test(queue: RedisQueue) -> None:
        enqueued: asyncio.Queue[Job] = asyncio.Queue()

        async def startup(context: Context) -> None:
            context["worker"].queue.register_before_enqueue(enqueued.put)

        cron_jobs: list[CronJob[Any]] = [CronJob(read, cron="0 0 1 1 *")]
        started_within = working(queue, manager, cron_jobs=cron_jobs, startup=startup)
        async with manager.session():
            await started_within.__aenter__()
        job = await asyncio.wait_for(enqueued.get(), PATIENCE)
        await started_within.__aexit__(None, None, None)
        assert job.meta == {}

    run(test)


def test_a_retry_has_the_session_of_the_first_attempt(run: Run, manager: SessionManager) -> None:
    """Or none, as that had none."""

    async def test(queue: RedisQueue) -> None:
        async with working(queue, manager):
            async with manager.session() as session:
                assert await result(queue, "read_twice", retries=2) == [session.id] * 2
            assert await result(queue, "read_twice", retries=2) == [None] * 2

    run(test)


def test_a_job_that_is_enqueued_again_has_the_session_it_is_enqueued_in(
    run: Run, manager: SessionManager
) -> None:
    """Not that of the time before."""

    async def test(queue: RedisQueue) -> None:
        given = {"mine": 1}
        job = Job("read", meta=given)
        for key in ("first", "second"):
            async with manager.session() as session:
                assert await queue.enqueue(job, key=key) is job
            assert job.meta == {"mine": 1, CARRIED: {"session_id": session.id}}
        assert await queue.enqueue(job, key="third") is job
        assert job.meta == given == {"mine": 1}

    run(test)


def test_a_job_of_a_job_has_the_session_it_was_enqueued_in(run: Run, manager: SessionManager) -> None:
    """That of its job, or a scope of its own."""

    async def test(queue: RedisQueue) -> None:
        async with working(queue, manager), manager.session() as session:
            own, within, after = await result(queue, "enqueue")
            assert own == within != session.id
            assert after == session.id

    run(test)


def test_a_job_that_is_processed_at_once_leaves_the_caller_where_it_was(
    run: Run, manager: SessionManager
) -> None:
    """As an application's tests do it."""

    async def test(queue: RedisQueue) -> None:
        settings: dict[str, Any] = {"queue": queue, "functions": FUNCTIONS}
        worker: Worker[Any] = Worker(**connect(settings, manager))
        async with manager.session() as session:
            job = await queue.enqueue("read")
        assert job is not None
        assert await worker.process()
        assert current_session() is None
        await job.refresh()
        assert job.result == session.id

    run(test)


def test_jobs_that_run_at_the_same_time_keep_their_own(run: Run, manager: SessionManager) -> None:
    """Each the session of its sender."""

    async def test(queue: RedisQueue) -> None:
        async with working(queue, manager):
            async with manager.session() as first:
                one = asyncio.create_task(result(queue, "read_together"))
            async with manager.session() as second:
                other = asyncio.create_task(result(queue, "read_together"))
            assert [await one, await other] == [first.id, second.id]

    run(test)


def test_datapoints_of_a_job_are_nested_under_that_of_its_sender(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """In its session."""
    sessions_api.answer = create_sessions_and_logs
    datapoint = manager.datapoint(project="bot", source="sender")

    async def test(queue: RedisQueue) -> None:
        async with working(queue, manager), manager.session() as session:
            with datapoint as outer:
                reference_id = await result(queue, "log_datapoint")
        assert manager.flush(PATIENCE)
        [stored] = [each for each in stored_logs(sessions_api) if each["reference_id"] == reference_id]
        assert stored["session_id"] == session.id
        assert stored["parent_reference_id"] == outer.reference_id

    run(test)


def test_a_worker_sends_its_datapoints_before_it_ends(
    run: Run, sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its process may end without Python's own end."""
    monkeypatch.setattr(sender, "INTERVAL", PATIENCE)
    sessions_api.answer = create_sessions_and_logs

    with SessionManager(sessions_api.base_url) as manager:

        async def test(queue: RedisQueue) -> None:
            async with working(queue, manager), manager.session():
                await result(queue, "log_datapoint")

        run(test)
        assert len(stored_logs(sessions_api)) == 1


def test_a_session_that_could_not_be_created_goes_by_its_reference(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """The job is enqueued all the same."""
    sessions_api.answer = fail()

    async def test(queue: RedisQueue) -> None:
        async with working(queue, manager), manager.session() as session:
            assert await result(queue, "log_params") == {"session_reference_id": session.reference_id}

    run(test)


def test_enqueuing_does_not_block_the_event_loop(run: Run, manager: SessionManager, gate: Gate) -> None:
    """While the session is created."""

    async def test(queue: RedisQueue) -> None:
        async with working(queue, manager), manager.session() as session:
            enqueuing = asyncio.create_task(result(queue, "read"))
            await asyncio.to_thread(gate.arrived.wait, PATIENCE)
            gate.opened.set()
            assert await enqueuing == session.peek()

    run(test)


def test_hooks_of_the_application_run_in_the_session(run: Run, manager: SessionManager) -> None:
    """One or several of a kind."""
    seen: list[object] = []

    async def note(context: Context) -> None:
        seen.append(current_session_id() if "job" in context else CARRIED)

    async def test(queue: RedisQueue) -> None:
        hooks = {"startup": note, "before_process": [note], "after_process": (note,), "shutdown": note}
        async with working(queue, manager, **hooks), manager.session() as session:
            await result(queue, "read")
        assert seen == [CARRIED, session.id, session.id, CARRIED]

    run(test)


def test_the_manager_of_a_job_is_the_default_one_unless_one_is_given(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Which may be configured later. A second call replaces it."""

    async def test(queue: RedisQueue) -> None:
        async with working(queue, None):
            configured = configure(base_url=f"{sessions_api.base_url}/configured")
            async with manager.session():
                assert await result(queue, "describe") == repr(configured)
        async with working(queue, manager, **connect({})), manager.session():
            assert await result(queue, "describe") == repr(manager)

    run(test)


def test_what_is_no_manager_is_refused() -> None:
    """At once, and so is what is no worker."""
    settings: Any = dict
    with pytest.raises(TypeError, match=r"^target must be a queue of SAQ, or the settings .*, not a type$"):
        connect(settings)
    not_a_manager: Any = "http://127.0.0.1:8642/v4"
    with pytest.raises(ConfigurationError):
        connect({}, not_a_manager)
