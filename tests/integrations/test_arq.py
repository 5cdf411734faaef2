"""Jobs run in the session of their sender, through a real Redis."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("arq")

from arq import ArqRedis, Retry, Worker, create_pool, cron
from arq.connections import RedisSettings
from arq.worker import create_worker

from hl_sessions import (
    ConfigurationError,
    SessionManager,
    configure,
    current_session,
    current_session_id,
    log,
)
from hl_sessions.carrying.message import CARRIED
from hl_sessions.integrations.arq import connect
from tests.sessions_api import Gate, SessionsAPI, create_sessions_and_logs, fail, stored_logs
from tests.waiting import PATIENCE

# arq calls what newer versions of redis have deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")

Context = dict[Any, Any]
Run = Callable[[Callable[[ArqRedis], Coroutine[Any, Any, None]]], None]


async def read(_: Context) -> str | None:
    return current_session_id()


async def read_twice(context: Context) -> list[str | None]:
    """Note the session, and ask for the second of two attempts."""
    noted: list[str | None] = context["noted"]
    noted.append(current_session_id())
    if context["job_try"] == 1:
        raise Retry
    return noted[-2:]


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
        within = await result(context["redis"], "read")
    return [own.id, within, await result(context["redis"], "read"), current_session_id()]


async def log_params(_: Context) -> dict[str, str]:
    session = current_session()
    return {} if session is None else session.log_params()


async def log_datapoint(_: Context) -> str:
    return log(project="bot", source="in a job")


async def describe(_: Context) -> str:
    session = current_session()
    return repr(session and session.manager)


FUNCTIONS = [read, read_twice, read_together, enqueue, log_params, log_datapoint, describe]


@pytest.fixture
def run(redis_server: str) -> Run:
    """Runs a test with a pool that is connected."""

    def run(test: Callable[[ArqRedis], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            settings = RedisSettings.from_dsn(f"{redis_server}/10")
            redis = connect(await create_pool(settings, default_queue_name=uuid4().hex))
            try:
                await test(redis)
            finally:
                await redis.aclose(close_connection_pool=True)

        asyncio.run(main())

    return run


@asynccontextmanager
async def working(redis: ArqRedis, manager: SessionManager | None, **settings: Any) -> AsyncIterator[Worker]:
    """Run a worker with a pool of its own, in a task of its own."""
    options = redis.connection_pool.connection_kwargs

    class WorkerSettings:
        functions = FUNCTIONS
        queue_name = redis.default_queue_name
        redis_settings = RedisSettings(options["host"], options["port"], database=options["db"])
        ctx: Context = {"manager": manager, "noted": [], "here": []}  # noqa: RUF012 - as arq's users write it
        poll_delay = 0.005
        handle_signals = False

    for name, value in settings.items():
        setattr(WorkerSettings, name, value)
    worker = create_worker(connect(WorkerSettings, manager))
    running = asyncio.create_task(worker.async_run())
    try:
        yield worker
    finally:
        worker.burst = True  # it ends with the last job
        await running
        await worker.close()


async def result(redis: ArqRedis, name: str) -> Any:
    """Enqueue a job, and return what it returns."""
    return await returned(await redis.enqueue_job(name))


async def returned(job: Any) -> Any:
    return await job.result(timeout=PATIENCE, poll_delay=0.005)


def test_a_job_runs_in_the_session_of_whoever_enqueued_it(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Enqueuing it creates the session, if nothing has before; the worker creates none."""

    async def test(redis: ArqRedis) -> None:
        async with working(redis, manager), manager.session() as session:
            job = await redis.enqueue_job("read")
            assert session.peek() is not None
            assert await returned(job) == session.peek()

    run(test)
    assert sessions_api.posts == 1


def test_a_job_that_was_enqueued_outside_every_scope_has_no_session(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Right after one that has one, in a worker that was itself started in a scope."""

    async def test(redis: ArqRedis) -> None:
        started_within = working(redis, manager, max_jobs=1)
        async with manager.session():
            await started_within.__aenter__()
        for _ in range(2):
            async with manager.session() as session:
                assert await result(redis, "read") == session.id
            assert await result(redis, "read") is None
        await started_within.__aexit__(None, None, None)

    run(test)
    assert sessions_api.posts == 2


def test_cron_jobs_have_no_session(run: Run, manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """Though the worker was started in a scope."""
    read_by_cron: asyncio.Queue[str | None] = asyncio.Queue()

    async def read_at_startup(_: Context) -> None:
        read_by_cron.put_nowait(current_session_id())

    async def test(redis: ArqRedis) -> None:
        cron_jobs = [cron(read_at_startup, run_at_startup=True)]
        started_within = working(redis, manager, cron_jobs=cron_jobs)
        async with manager.session():
            await started_within.__aenter__()
        assert await asyncio.wait_for(read_by_cron.get(), PATIENCE) is None
        await started_within.__aexit__(None, None, None)

    run(test)
    assert sessions_api.posts == 0


def test_a_retry_has_the_session_of_the_first_attempt(run: Run, manager: SessionManager) -> None:
    """Or none, as that had none."""

    async def test(redis: ArqRedis) -> None:
        async with working(redis, manager):
            async with manager.session() as session:
                assert await result(redis, "read_twice") == [session.id] * 2
            assert await result(redis, "read_twice") == [None] * 2

    run(test)


def test_a_job_of_a_job_has_the_session_it_was_enqueued_in(run: Run, manager: SessionManager) -> None:
    """That of its job, or a scope of its own."""

    async def test(redis: ArqRedis) -> None:
        async with working(redis, manager), manager.session() as session:
            own, within, after, current = await result(redis, "enqueue")
            assert own == within != session.id
            assert after == current == session.id

    run(test)


def test_jobs_that_run_at_the_same_time_keep_their_own(run: Run, manager: SessionManager) -> None:
    """Each has the session of its sender."""

    async def test(redis: ArqRedis) -> None:
        async with working(redis, manager):
            async with manager.session() as first:
                one = await redis.enqueue_job("read_together")
            async with manager.session() as second:
                other = await redis.enqueue_job("read_together")
            assert [await returned(one), await returned(other)] == [first.id, second.id]

    run(test)


def test_datapoints_of_a_job_are_nested_under_that_of_its_sender(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """In its session."""
    sessions_api.answer = create_sessions_and_logs

    async def test(redis: ArqRedis) -> None:
        async with working(redis, manager), manager.session() as session:
            with manager.datapoint(project="bot", source="sender") as outer:
                reference_id = await result(redis, "log_datapoint")
        assert manager.flush(PATIENCE)
        [stored] = [each for each in stored_logs(sessions_api) if each["reference_id"] == reference_id]
        assert stored["session_id"] == session.id
        assert stored["parent_reference_id"] == outer.reference_id

    run(test)


def test_a_session_that_could_not_be_created_goes_by_its_reference(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """The job is still enqueued."""
    sessions_api.answer = fail()

    async def test(redis: ArqRedis) -> None:
        async with working(redis, manager), manager.session() as session:
            assert await result(redis, "log_params") == {"session_reference_id": session.reference_id}

    run(test)


def test_enqueuing_does_not_block_the_event_loop(run: Run, manager: SessionManager, gate: Gate) -> None:
    """While the session is created."""

    async def test(redis: ArqRedis) -> None:
        async with manager.session() as session:
            enqueuing = asyncio.create_task(redis.enqueue_job("read"))
            await asyncio.to_thread(gate.arrived.wait, PATIENCE)
            gate.opened.set()
            await enqueuing
            assert session.peek() is not None

    run(test)


def test_looking_at_a_job_does_not_enter_its_session(run: Run, manager: SessionManager) -> None:
    """Nor at its result."""

    async def test(redis: ArqRedis) -> None:
        async with manager.session():
            job = await redis.enqueue_job("read")
        assert job is not None
        assert (await job.info()) is not None
        assert await redis.queued_jobs(queue_name=redis.default_queue_name)
        assert current_session() is None

    run(test)


def test_serializers_and_hooks_of_the_application_are_called(run: Run, manager: SessionManager) -> None:
    """Hooks in the session; what the messages hold is what any serializer takes."""
    seen: list[object] = []

    def dumps(job: Context) -> bytes:
        seen.append(job.get(CARRIED))
        return json.dumps(job).encode()

    async def note(_: Context) -> None:
        seen.append(current_session_id())

    async def test(redis: ArqRedis) -> None:
        redis.job_serializer, redis.job_deserializer = dumps, json.loads
        hooks = {"on_startup": note, "on_job_start": note, "on_job_end": note}
        own = {"job_serializer": dumps, "job_deserializer": json.loads}
        async with working(connect(redis), manager, **hooks, **own), manager.session() as session:
            assert await result(redis, "read") == session.id
        assert sorted(map(str, seen)) == sorted(
            ["None", str({"session_id": session.id}), str(session.id), "None", str(session.id)]
        )

    run(test)


def test_a_worker_that_is_not_connected_does_the_job(run: Run, manager: SessionManager) -> None:
    """As while a new version is being deployed."""

    async def test(redis: ArqRedis) -> None:
        async with manager.session():
            job = await redis.enqueue_job("read")
        queue_name = redis.default_queue_name
        worker = Worker([read], redis_pool=redis, queue_name=queue_name, burst=True, handle_signals=False)
        await worker.async_run()
        assert await returned(job) is None

    run(test)


def test_a_worker_is_connected_as_its_settings_are(run: Run, manager: SessionManager) -> None:
    """Before it runs."""

    async def test(redis: ArqRedis) -> None:
        async with manager.session() as session:
            job = await redis.enqueue_job("read")
        queue_name = redis.default_queue_name
        worker = Worker([read], redis_pool=redis, queue_name=queue_name, burst=True, handle_signals=False)
        await connect(worker, manager).async_run()
        assert await returned(job) == session.id
        assert current_session() is None

    run(test)


def test_the_manager_of_a_job_is_the_default_one_unless_one_is_given(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Which may be configured later. A second call replaces it."""

    class ConnectedBefore:
        pass

    hooks = {name: value for name, value in vars(connect(ConnectedBefore)).items() if name[0] != "_"}

    async def test(redis: ArqRedis) -> None:
        async with working(redis, None):
            configured = configure(base_url=f"{sessions_api.base_url}/configured")
            async with manager.session():
                assert await result(redis, "describe") == repr(configured)
        async with working(redis, manager, **hooks), manager.session():
            assert await result(redis, "describe") == repr(manager)

    run(test)


def test_the_lines_of_the_guide_run(redis_server: str, sessions_api: SessionsAPI) -> None:
    """They send a job that has the session of its sender."""
    page = (Path(__file__).parent.parent.parent / "docs" / "jobs.md").read_text()
    found = re.search(r"^## arq$.*?^```python$(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert found
    code = found[1].replace("redis://127.0.0.1:6379", f"{redis_server}/11")
    names: dict[str, Any] = {}
    exec(code.replace("http://127.0.0.1:8642/v4", sessions_api.base_url), names)
    settings = names["WorkerSettings"]
    seen: list[str | None] = []

    async def note(_: Context) -> None:
        seen.append(current_session_id())

    async def work() -> None:
        await names["on_message"]("Hello")
        settings.on_job_end, settings.burst, settings.handle_signals = note, True, False
        worker = create_worker(settings)
        await worker.async_run()
        await worker.close()

    asyncio.run(work())
    assert [session_id is not None for session_id in seen] == [True]
    assert sessions_api.posts == 1


def test_what_is_no_manager_is_refused() -> None:
    """At once, and so is what is no worker."""
    for target in (RedisSettings(), {"functions": [read]}):
        with pytest.raises(TypeError, match=rf"^target must be .*, not a {type(target).__name__}$"):
            connect(target)
    not_a_manager: Any = "http://127.0.0.1:8642/v4"
    with pytest.raises(ConfigurationError):
        connect(object(), not_a_manager)
