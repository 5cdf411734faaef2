"""Jobs run in the session of their sender: a real worker, which forks for each, on a real Redis."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Callback, Queue, Retry
from rq.command import send_stop_job_command
from rq.job import Job, JobStatus

from hl_sessions import SessionManager, current_session_id
from hl_sessions.integrations.rq import SessionJob
from tests.integrations.rq_jobs import describe, note, read
from tests.sessions_api import Answer, SessionsAPI, create_sessions_and_logs, stored_logs
from tests.waiting import PATIENCE, wait_until

DEADLINE = int(2 * PATIENCE)  # seconds


@pytest.fixture(scope="module")
def worker_api() -> Iterator[SessionsAPI]:
    """The sessions API of the worker, which is not that of the sender."""
    api = SessionsAPI()
    yield api
    api.close()


@pytest.fixture(scope="module")
def connection(redis_server: str, worker_api: SessionsAPI) -> Iterator[Redis]:
    """To the Redis on which a worker waits."""
    url = f"{redis_server}/5"
    command = [sys.executable, "-m", "rq.cli", "worker", "--quiet", "--url", url]
    worker = subprocess.Popen(
        [*command, "--job-class", "hl_sessions.integrations.rq.SessionJob", "default"],
        env={**os.environ, "HL_SESSIONS_BASE_URL": worker_api.base_url, "PYTHONPATH": "."},
        cwd=Path(__file__).parent,
    )
    connection = Redis.from_url(url, socket_timeout=None)  # waits for answers as long as it takes
    try:
        yield connection
    finally:
        connection.close()
        worker.terminate()
        worker.wait(DEADLINE)


@pytest.fixture
def queue(connection: Redis) -> Queue:
    return Queue("default", connection=connection, job_class=SessionJob)


def result(job: Job) -> Any:
    """What the job returns; waits for it."""
    found = job.latest_result(timeout=DEADLINE)
    assert found is not None
    assert found.exc_string is None, found.exc_string
    return found.return_value


def noted(job: Job, connection: Redis) -> str:
    """What a callback of the job has noted; waits for it."""
    found: Any = connection.blpop([f"noted-{job.id}"], timeout=DEADLINE)
    assert found is not None
    return str(found[1].decode())


@pytest.mark.parametrize("function", ["read", "read_in_coroutine"])
def test_a_job_runs_in_the_session_of_whoever_enqueued_it(
    queue: Queue, manager: SessionManager, sessions_api: SessionsAPI, worker_api: SessionsAPI, function: str
) -> None:
    """Enqueuing it creates the session, if nothing has before; the worker creates none."""
    posts = worker_api.posts
    with manager.session() as session:
        job = queue.enqueue(f"rq_jobs.{function}", meta={"mine": 1})
        assert session.peek() is not None
        assert result(job) == session.peek()
    assert job.get_meta()["mine"] == 1
    assert sessions_api.posts == 1
    assert worker_api.posts == posts


def test_datapoints_of_a_job_are_nested_under_that_of_its_sender(
    queue: Queue, manager: SessionManager, sessions_api: SessionsAPI, worker_api: SessionsAPI
) -> None:
    """In its session; they are sent before the process of the job ends, which it does at once."""
    sessions_api.answer = worker_api.answer = create_sessions_and_logs
    with manager.session() as session, manager.datapoint(project="bot", source="sender") as sender:
        reference_id = result(queue.enqueue("rq_jobs.log_datapoint"))
    [log] = [log for log in stored_logs(worker_api) if log["reference_id"] == reference_id]
    assert log["session_id"] == session.peek()
    assert log["parent_reference_id"] == sender.reference_id


def test_the_module_of_a_job_may_configure_the_manager(
    queue: Queue, manager: SessionManager, worker_api: SessionsAPI
) -> None:
    """The worker imports it only for the job."""
    worker_api.answer = create_sessions_and_logs
    with manager.session():
        reference_id = result(queue.enqueue("rq_jobs_of_a_project.log_datapoint"))
    [log] = [log for log in stored_logs(worker_api) if log["reference_id"] == reference_id]
    assert log["project"] == "configured"


def test_a_job_that_was_enqueued_outside_every_scope_has_no_session(
    queue: Queue, manager: SessionManager
) -> None:
    """Regardless of what the worker has performed before."""
    with manager.session() as session:
        within = queue.enqueue("rq_jobs.read")
    without = queue.enqueue("rq_jobs.log_params")
    assert result(within) == session.id
    assert result(without) == []
    assert without.get_meta() == {}


def test_retries_have_the_session_of_the_first_attempt(queue: Queue, manager: SessionManager) -> None:
    """Those after a failure and those that the job asks for."""
    with manager.session() as session:
        failing = queue.enqueue("rq_jobs.fail", 2, retry=Retry(max=2))
        asking = queue.enqueue("rq_jobs.retry")
    without = queue.enqueue("rq_jobs.fail", 1, retry=Retry(max=1))
    jobs = (failing, asking, without)
    wait_until(lambda: all(job.get_status() == JobStatus.FINISHED for job in jobs))
    assert [job.return_value(refresh=True) for job in jobs] == [
        [session.id] * 3,
        [session.id] * 2,
        ["none"] * 2,
    ]


@pytest.mark.parametrize("own", ["fail_with_meta_of_its_own", "fail_with_meta_of_another_program"])
def test_a_job_that_assigns_its_meta_keeps_the_session(
    queue: Queue, manager: SessionManager, own: str
) -> None:
    """Also for its retry; what it keeps there itself stays, too."""
    with manager.session() as session:
        job = queue.enqueue(f"rq_jobs.{own}", retry=Retry(max=1))
    wait_until(lambda: job.get_status() == JobStatus.FINISHED)
    assert job.return_value(refresh=True) == [session.id] * 2
    assert job.get_meta()["progress"] == 50


def test_jobs_that_share_a_meta_have_their_own_sessions(queue: Queue, manager: SessionManager) -> None:
    """Though one dictionary is assigned to all of them, and a further job is given that of the first one."""
    shared = {"mine": 1}
    jobs, expected = [], []
    for scope in (manager.session(new=True), manager.session(new=True), nullcontext()):
        with scope as session:
            job = queue.create_job("rq_jobs.log_params")
            job.meta = shared
            jobs.append(queue.enqueue_job(job))
            expected.append([] if session is None else [session.log_params()] * 2)
    jobs.append(queue.enqueue("rq_jobs.log_params", meta=jobs[0].meta))  # outside every scope
    assert [result(job) for job in jobs] == [*expected, []]
    assert [job.get_meta()["mine"] for job in jobs] == [1] * 4


def test_dependent_jobs_have_the_session_of_whoever_enqueued_them(
    queue: Queue, manager: SessionManager
) -> None:
    """Not that of the job they depend on."""
    with manager.session() as first:
        job = queue.enqueue("rq_jobs.read")
    with manager.session() as second:
        dependent = queue.enqueue("rq_jobs.read", depends_on=job)
        last = queue.enqueue("rq_jobs.enqueue", depends_on=[job, dependent])
    without = queue.enqueue("rq_jobs.log_params", depends_on=last)
    assert result(job) == first.id
    assert result(dependent) == second.id
    enqueued = Job.fetch(result(last), connection=queue.connection)
    assert result(enqueued) == second.id  # a job of a job
    assert result(without) == []


def test_jobs_of_a_batch_have_it(queue: Queue, manager: SessionManager) -> None:
    """``enqueue_many`` is like many times ``enqueue``."""
    with manager.session() as session:
        jobs = queue.enqueue_many([Queue.prepare_data("rq_jobs.read") for _ in range(3)])
    assert [result(job) for job in jobs] == [session.id] * 3


@pytest.mark.parametrize("times", [0, 1])
def test_callbacks_of_a_job_have_it(queue: Queue, manager: SessionManager, times: int) -> None:
    """After a success as after a failure."""
    with manager.session() as session:
        callback: Any = Callback("rq_jobs.note")
        job = queue.enqueue(
            "rq_jobs.read" if not times else "rq_jobs.missing", on_success=callback, on_failure=callback
        )
    without = queue.enqueue("rq_jobs.read", on_success=callback)
    assert noted(job, queue.connection) == session.id
    assert noted(without, queue.connection) == "none"


def test_the_callback_of_a_stopped_job_has_it(queue: Queue, manager: SessionManager) -> None:
    """Though another process of the worker calls it."""
    with manager.session() as session:
        job = queue.enqueue("rq_jobs.wait", on_stopped=Callback("rq_jobs.note"))
    wait_until(lambda: job.get_status() == JobStatus.STARTED)
    send_stop_job_command(queue.connection, job.id)
    assert noted(job, queue.connection) == session.id


def test_a_session_that_could_not_be_created_goes_by_its_reference(
    queue: Queue, sessions_api: SessionsAPI
) -> None:
    """The datapoints of the job and those of its sender name the same."""
    sessions_api.answer = lambda _: Answer(503)
    for on_error in ("warn", "raise"):
        settings: Any = {"retries": 0, "on_error": on_error}
        with SessionManager(sessions_api.base_url, **settings) as manager, manager.session() as session:
            params = result(queue.enqueue("rq_jobs.log_params"))
            assert params == [{"session_reference_id": session.reference_id}] * 2


def test_forked_workers_create_sessions_of_their_own(queue: Queue) -> None:
    """Each job in a process of its own."""
    jobs = [queue.enqueue("rq_jobs.create") for _ in range(3)]
    created = {result(job) for job in jobs}
    assert None not in created
    assert len(created) == 3


def test_a_subclass_has_a_manager_of_its_own(
    queue: Queue, connection: Redis, manager: SessionManager, worker_api: SessionsAPI
) -> None:
    """Else it is that of the environment."""

    class OtherJob(SessionJob):
        manager = SessionManager("http://127.0.0.1:1/other/v4")

    at_once = Queue("here", connection=connection, job_class=OtherJob, is_async=False)
    with manager.session():
        described = [at_once.enqueue(describe).return_value(), result(queue.enqueue("rq_jobs.describe"))]
    base_urls = ["http://127.0.0.1:1/other/v4", worker_api.base_url]
    assert described == [f"SessionManager(base_url={base_url!r})" for base_url in base_urls]


def test_a_job_that_is_performed_at_once(connection: Redis, manager: SessionManager) -> None:
    """Leaves its session, also when it fails; one without a session has none of the scope around it."""
    queue = Queue("here", connection=connection, job_class=SessionJob, is_async=False)
    with manager.session() as session:
        assert queue.enqueue(read).return_value() == session.id
        assert queue.enqueue("rq_jobs.missing").is_failed
        job = queue.enqueue(read, on_success=Callback(note))
    assert noted(job, connection) == session.id
    assert current_session_id() is None
    job = SessionJob.create(read, connection=connection)
    with manager.session():
        assert job.perform() is None
        assert current_session_id() is not None
