"""A Celery application whose tasks tell what session they run in."""

from typing import Any

from celery import Celery
from redis import Redis

from hl_sessions import SessionManager, current_session, current_session_id, log

manager = SessionManager(timeout=60)


def read(*_: Any) -> str | None:
    return current_session_id()


def read_on(before: list[str | None]) -> list[str | None]:
    return [*before, current_session_id()]


def describe() -> str:
    session = current_session()
    return repr(session and session.manager)


def log_params() -> list[dict[str, str]]:
    session = current_session()
    return [] if session is None else [session.log_params(), session.log_params()]


def log_datapoint() -> str:
    return log(project="bot", source="in a task")


def create() -> str | None:
    with manager.session(new=True) as session:
        return session.id


def retry(task: Any, seen: list[str | None]) -> list[str | None]:
    """Reads in each of three attempts, and asks for the next one in a scope of its own."""
    seen = [*seen, current_session_id()]
    if task.request.retries < 2:
        with manager.session(new=True):
            raise task.retry(args=[seen], countdown=0)
    return seen


def fail_once(task: Any) -> str | None:
    if not task.request.retries:
        raise OSError
    return current_session_id()


def fail() -> None:
    raise ValueError


def note(task: Any, *_: Any, key: str) -> None:
    with Redis.from_url(task.app.conf.broker_url) as redis:
        redis.rpush(key, current_session_id() or "none")


def nest(task: Any) -> tuple[list[str | None], str]:
    """Reads, then calls tasks in the session and in a scope of its own, and sends one."""
    tasks, seen = task.app.tasks, [current_session_id()]
    seen.append(tasks["read"].apply().get(disable_sync_subtasks=False))
    with manager.session(new=True):
        seen.append(tasks["read"].apply().get(disable_sync_subtasks=False))
    assert tasks["fail"].apply().failed()
    seen.append(current_session_id())
    return seen, tasks["read"].delay().id


def make_app(url: str) -> Celery:
    app = Celery("bot", broker=url, backend=url, set_as_current=False)
    app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
    for function in (read, read_on, describe, log_params, log_datapoint, create, fail):
        app.task(function, name=function.__name__, shared=False)
    for bound in (note, nest):
        app.task(bound, name=bound.__name__, bind=True, shared=False)
    app.task(retry, name="retry", bind=True, shared=False)
    options = {"autoretry_for": (OSError,), "default_retry_delay": 0}
    app.task(fail_once, name="fail_once", bind=True, shared=False, **options)
    return app
