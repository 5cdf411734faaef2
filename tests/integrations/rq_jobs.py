"""Jobs that tell what session they run in, and fail as often as they are told."""

import threading
from typing import Any

from redis import Redis
from rq import Queue, Retry, get_current_job
from rq.job import Job

from hl_sessions import SessionManager, current_session, current_session_id, log
from hl_sessions.integrations.rq import SessionJob


def read() -> str | None:
    return current_session_id()


async def read_in_coroutine() -> str | None:
    return current_session_id()


def describe() -> str:
    session = current_session()
    return repr(session and session.manager)


def log_params() -> list[dict[str, str]]:
    session = current_session()
    return [] if session is None else [session.log_params(), session.log_params()]


def log_datapoint() -> str:
    return log(project="bot", source="in a job")


def create() -> str | None:
    with SessionManager(timeout=60).session(new=True) as session:
        return session.id


def wait() -> None:
    threading.Event().wait()


def fail(times: int) -> list[str]:
    """Note the session in each attempt, fail some times, then give all that was noted."""
    noted = note_here()
    if len(noted) <= times:
        raise ValueError
    return noted


def fail_with_meta_of_its_own() -> list[str]:
    """Replace what is kept with the job, and fail once."""
    job = current_job()
    job.meta = {"progress": 50}
    job.save_meta()  # type: ignore[no-untyped-call]
    return fail(1)


def fail_with_meta_of_another_program() -> list[str]:
    """Read anew what a program without our class has written, and fail once."""
    job = current_job()
    plain = Job.fetch(job.id, job.connection)
    plain.meta = {"progress": 50}
    plain.save_meta()  # type: ignore[no-untyped-call]
    job.refresh()  # type: ignore[no-untyped-call]
    return fail(1)


def retry() -> Any:
    """Ask for another attempt, in a scope of its own."""
    noted = note_here()
    with SessionManager(timeout=60).session(new=True):
        return Retry(max=2) if len(noted) < 2 else noted


def enqueue() -> str:
    job = current_job()
    return Queue(job.origin, connection=job.connection, job_class=SessionJob).enqueue("rq_jobs.read").id


def note(job: Job, connection: Redis, *_: Any) -> None:
    """A callback that notes the session under the ID of the job."""
    connection.rpush(f"noted-{job.id}", current_session_id() or "none")


def note_here() -> list[str]:
    job = current_job()
    note(job, job.connection)
    noted: list[Any] = job.connection.lrange(f"noted-{job.id}", 0, -1)
    return [each.decode() for each in noted]


def current_job() -> Job:
    job = get_current_job()
    assert job is not None
    return job
