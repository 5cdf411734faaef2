"""Tasks run in the session of their sender: real workers of each kind, on a real Redis."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from kombu.pools import reset as reset_pools
from redis import Redis

from hl_sessions import ConfigurationError, SessionManager
from hl_sessions.integrations.celery import connect, disconnect
from tests.integrations.celery_application import make_app
from tests.interpreters import is_installed
from tests.sessions_api import Answer, SessionsAPI, create_sessions_and_logs, stored_logs
from tests.waiting import PATIENCE, wait_until

POOLS = ["prefork", "threads", *(["gevent"] if is_installed("gevent") else [])]
DEADLINE = 2 * PATIENCE  # seconds: three workers start at the same time
REPLACED_URL = "http://127.0.0.1:1/v4"


@pytest.fixture(scope="module")
def workers_api() -> Iterator[SessionsAPI]:
    """The sessions API of the workers, which is not that of the sender."""
    api = SessionsAPI()
    yield api
    api.close()


@pytest.fixture(scope="module")
def apps(redis_server: str, workers_api: SessionsAPI) -> Iterator[dict[str, Celery]]:
    """An application for each kind of worker, each with its worker; they start at the same time."""
    options = ["--concurrency=2", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    apps, workers = {}, []
    for number, pool in enumerate(POOLS, start=1):
        url = f"{redis_server}/{number}"
        environment = {"HL_SESSIONS_BASE_URL": workers_api.base_url, "REDIS_URL": url}
        if pool == "threads":
            environment["REPLACED_URL"] = REPLACED_URL
        if pool == "gevent":
            # Celery 5.7 may open a connection inside a lock of gevent's usual resolver: a deadlock.
            environment["GEVENT_RESOLVER"] = "block"
        command = [
            sys.executable,
            "-m",
            "celery",
            "--quiet",
            "-A",
            "celery_worker",
            "worker",
            "--pool",
            pool,
            *options,
        ]
        directory = Path(__file__).parent
        workers.append(subprocess.Popen(command, env={**os.environ, **environment}, cwd=directory))
        apps[pool] = make_app(url)
    try:
        for app in apps.values():
            assert result(app, "read") is None  # the worker is there
        yield apps
    finally:
        for pool, worker in zip(POOLS, workers, strict=True):
            # One of gevent takes seconds to stop, and has no children to leave behind.
            worker.send_signal(signal.SIGKILL if pool == "gevent" else signal.SIGTERM)
        for worker in workers:
            worker.wait(DEADLINE)
        for app in apps.values():
            app.close()
            app.backend.result_consumer.stop()
            # A result that is collected later would take its subscription back, over a new connection.
            app.backend.result_consumer._pubsub = None
            app.backend.client.connection_pool.disconnect()
        reset_pools()  # type: ignore[no-untyped-call]


@pytest.fixture(params=POOLS)
def app(apps: dict[str, Celery], request: pytest.FixtureRequest) -> Iterator[Celery]:
    connect()
    yield apps[request.param]
    disconnect()


def result(app: Celery, name: str, *args: Any) -> Any:
    return app.tasks[name].delay(*args).get(timeout=DEADLINE)


def noted(app: Celery, key: str) -> str | None:
    """What a task has noted under a key; waits for it."""
    with Redis.from_url(app.conf.broker_url, decode_responses=True, socket_timeout=None) as redis:
        found: Any = redis.blpop([key], timeout=DEADLINE)
    assert found
    return str(found[1])


def test_a_task_runs_in_the_session_of_whoever_sent_it(
    app: Celery, manager: SessionManager, sessions_api: SessionsAPI, workers_api: SessionsAPI
) -> None:
    """Sending it creates the session, if nothing has before; the worker creates none."""
    posts = workers_api.posts
    with manager.session() as session:
        sent = app.tasks["read"].delay()
        assert session.peek() is not None
        assert sent.get(timeout=DEADLINE) == session.peek()
        assert result(app, "log_params") == [{"session_id": session.peek()}] * 2
    assert sessions_api.posts == 1
    assert workers_api.posts == posts


# The manager of the worker with threads is one without an API.
@pytest.mark.parametrize("app", [pool for pool in POOLS if pool != "threads"], indirect=True)
def test_datapoints_of_a_task_are_nested_under_that_of_its_sender(
    app: Celery, manager: SessionManager, sessions_api: SessionsAPI, workers_api: SessionsAPI
) -> None:
    """In its session, and from the process of the worker."""
    sessions_api.answer = workers_api.answer = create_sessions_and_logs
    with manager.session() as session, manager.datapoint(project="bot", source="sender") as sender:
        reference_id = result(app, "log_datapoint")
    wait_until(lambda: reference_id in {log["reference_id"] for log in stored_logs(workers_api)})
    [log] = [log for log in stored_logs(workers_api) if log["reference_id"] == reference_id]
    assert log["session_id"] == session.peek()
    assert log["parent_reference_id"] == sender.reference_id


def test_a_task_that_was_sent_outside_every_scope_has_no_session(
    app: Celery, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Regardless of what the worker has run before."""
    with manager.session():
        within = [app.tasks["read"].delay() for _ in range(4)]
    without = [app.tasks["read"].delay() for _ in range(8)]
    assert None not in [each.get(timeout=DEADLINE) for each in within]
    assert [each.get(timeout=DEADLINE) for each in without] == [None] * 8
    assert result(app, "log_params") == []
    assert sessions_api.posts == 1


def test_tasks_of_many_sessions_keep_apart(app: Celery, manager: SessionManager) -> None:
    """However they are mixed."""
    expected, sent = [], []
    for _ in range(20):
        with manager.session() as session:
            sent.append(app.tasks["read"].delay())
            expected.append(session.id)
        sent.append(app.tasks["read"].delay())
        expected.append(None)
    assert [each.get(timeout=DEADLINE) for each in sent] == expected
    assert len(set(expected)) == 21


def test_retries_have_the_session_of_the_first_attempt(app: Celery, manager: SessionManager) -> None:
    """Also where the task asks for one inside a scope of its own, and where it had no session."""
    with manager.session() as session:
        assert result(app, "retry", []) == [session.id] * 3
        assert result(app, "fail_once") == session.id
    assert result(app, "retry", []) == [None] * 3


def test_chains_groups_and_chords_have_it(app: Celery, manager: SessionManager) -> None:
    """Each of their tasks, also those that a worker sends."""
    read, read_on = app.tasks["read"], app.tasks["read_on"]

    def send() -> list[Any]:
        canvases = [
            chain(read_on.s([]), read_on.s(), read_on.s()),
            group(read.s(), read.s(), read.s()),
            chord([read.s(), read.s()], read_on.s()),
            chain(group(read.s(), read.s()), read_on.s()),
        ]
        return [canvas.delay() for canvas in canvases]

    with manager.session() as session:
        within = send()
    without = send()
    assert [each.get(timeout=DEADLINE) for each in within] == [[session.id] * 3] * 4
    assert [each.get(timeout=DEADLINE) for each in without] == [[None] * 3] * 4


@pytest.mark.parametrize("name", ["read", "fail"])
def test_callbacks_of_a_task_have_it(app: Celery, manager: SessionManager, name: str) -> None:
    """After a success as after a failure."""
    with manager.session() as session:
        note = app.tasks["note"].s(key=f"{name}-within")
        app.tasks[name].apply_async(link=note, link_error=note)
    note = app.tasks["note"].s(key=f"{name}-without")
    app.tasks[name].apply_async(link=note, link_error=note)
    assert noted(app, f"{name}-within") == session.id
    assert noted(app, f"{name}-without") == "none"


def test_tasks_inside_a_task(app: Celery, manager: SessionManager) -> None:
    """One that is called runs in the session of its caller, one that is sent in that of its sender."""
    with manager.session() as session:
        seen, sent = result(app, "nest")
    inner = seen.pop(2)
    assert seen == [session.id] * 3
    assert inner not in {session.id, None}
    assert app.AsyncResult(sent).get(timeout=DEADLINE) == session.id


def test_a_session_that_could_not_be_created_goes_by_its_reference(
    app: Celery, sessions_api: SessionsAPI, workers_api: SessionsAPI
) -> None:
    """The datapoints of the task and those of its sender name the same."""
    sessions_api.answer = lambda _: Answer(503)
    for on_error in ("warn", "raise"):
        settings: Any = {"retries": 0, "on_error": on_error}
        with SessionManager(sessions_api.base_url, **settings) as manager, manager.session() as session:
            params = result(app, "log_params")
            assert params == [{"session_reference_id": session.reference_id}] * 2


def test_workers_create_sessions_of_their_own(app: Celery, workers_api: SessionsAPI) -> None:
    """Forked ones too, whose parent has an open connection."""
    sent = [app.tasks["create"].delay() for _ in range(6)]
    created = {each.get(timeout=DEADLINE) for each in sent}
    assert None not in created
    assert len(created) == 6


def test_the_manager_of_workers_is_the_last_one_given(
    app: Celery, apps: dict[str, Celery], manager: SessionManager, workers_api: SessionsAPI
) -> None:
    """Else that of the environment."""
    with manager.session():
        described = result(app, "describe")
    base_url = REPLACED_URL if app is apps["threads"] else workers_api.base_url
    assert described == f"SessionManager(base_url={base_url!r})"


def test_connecting_can_be_undone(
    apps: dict[str, Celery], manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Twice is as good as once, both ways."""
    app = apps["threads"]
    for _ in range(2):
        disconnect()
    with manager.session():
        assert result(app, "read") is None
        assert sessions_api.posts == 0
    for _ in range(2):
        connect(manager)
    with manager.session() as session:
        assert result(app, "read") == session.peek() is not None
    disconnect()
    with manager.session():
        assert result(app, "read") is None
    assert sessions_api.posts == 1


def test_what_is_no_manager_is_refused() -> None:
    """And nothing is connected."""
    wrong: Any = "manager"
    with pytest.raises(ConfigurationError, match=r"^manager must be a SessionManager, not str$"):
        connect(wrong)
