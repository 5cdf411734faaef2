"""Tasks are executed in the session of their sender: a real consumer, on a real Redis."""

import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huey")

from huey import Huey, chord, group
from huey.consumer import Consumer
from huey.storage import MemoryStorage

from hl_sessions import (
    ConfigurationError,
    Session,
    SessionManager,
    current_session,
    current_session_id,
    log,
)
from hl_sessions.integrations.huey import SessionHuey
from tests.integrations.huey_tasks import make_huey
from tests.sessions_api import Answer, SessionsAPI, create_sessions_and_logs, stored_logs
from tests.waiting import PATIENCE, wait_until


@contextmanager
def consuming(huey: Huey) -> Iterator[Consumer]:
    """A consumer waits for tasks in one thread; it takes the signals of the process, which are put back."""
    signals = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    consumer = huey.create_consumer(workers=1, initial_delay=0.01, max_delay=0.01)
    consumer.start()
    for signum, handler in signals.items():
        signal.signal(signum, handler)
    yield consumer
    consumer.stop(graceful=True)


@pytest.fixture(scope="module")
def consumer_api() -> Iterator[SessionsAPI]:
    """The sessions API of the consumer, which is not that of the sender."""
    api = SessionsAPI()
    yield api
    api.close()


@pytest.fixture(scope="module")
def huey(redis_server: str, consumer_api: SessionsAPI) -> Iterator[Huey]:
    """One for whose tasks a consumer waits, which was started in a scope of somebody."""
    with SessionManager(consumer_api.base_url) as manager:
        huey = make_huey(f"{redis_server}/10", manager=manager)
        with manager.session():
            starting = consuming(huey)
            starting.__enter__()
        yield huey
        starting.__exit__(None, None, None)


def in_memory() -> Huey:
    """One whose tasks wait in memory until they are taken out and executed."""
    return SessionHuey(storage_class=MemoryStorage, store_none=True)


def result(enqueued: Any) -> Any:
    """What executing a task gives; waits for it."""
    return enqueued.get(blocking=True, timeout=PATIENCE)


@pytest.mark.parametrize("name", ["read", "read_in_coroutine"])
def test_a_task_is_executed_in_the_session_of_whoever_enqueued_it(
    huey: Huey, manager: SessionManager, sessions_api: SessionsAPI, consumer_api: SessionsAPI, name: str
) -> None:
    """Enqueuing it creates the session, if nothing has before; the consumer creates none."""
    posts = consumer_api.posts
    with manager.session() as session:
        enqueued = huey.tasks[name]()
        assert session.peek() is not None
    assert result(enqueued) == session.peek()
    assert sessions_api.posts == 1
    assert consumer_api.posts == posts


def test_datapoints_of_a_task_are_nested_under_that_of_its_sender(
    huey: Huey, manager: SessionManager, sessions_api: SessionsAPI, consumer_api: SessionsAPI
) -> None:
    """In its session, and by the manager of the consumer."""
    sessions_api.answer = consumer_api.answer = create_sessions_and_logs
    with manager.session() as session, manager.datapoint(project="bot", source="sender") as sender:
        reference_id = result(huey.tasks["log_datapoint"]())
    wait_until(lambda: reference_id in {log["reference_id"] for log in stored_logs(consumer_api)})
    [log] = [log for log in stored_logs(consumer_api) if log["reference_id"] == reference_id]
    assert log["session_id"] == session.peek()
    assert log["parent_reference_id"] == sender.reference_id


def test_a_task_that_was_enqueued_outside_every_scope_has_no_session(
    huey: Huey, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Regardless of what the thread has executed before, and of what started it."""
    with manager.session() as session:
        within = [huey.tasks[name]() for name in ("read", "read_in_coroutine")]
    without = [huey.tasks[name]() for name in ("read", "read_in_coroutine", "log_params")]
    assert [result(each) for each in within] == [session.id] * 2
    assert [result(each) for each in without] == [None, None, []]
    assert sessions_api.posts == 1


def test_retries_have_the_session_of_the_first_attempt(huey: Huey, manager: SessionManager) -> None:
    """At once or after a while, also where the task fails in a scope of its own or had no session."""
    retry = huey.tasks["fail_twice"]
    with manager.session() as session:
        within = [retry("within"), retry("within, late", delay=0.01)]
    without = [retry("without"), retry("without, late", delay=0.01)]
    assert [result(each) for each in within] == [[session.id] * 3] * 2
    assert [result(each) for each in without] == [[None] * 3] * 2


def test_a_task_of_a_task_has_it(huey: Huey, manager: SessionManager) -> None:
    """One that a task enqueues."""
    with manager.session() as session:
        within = huey.tasks["enqueue"]()
    without = huey.tasks["enqueue"]()
    for enqueued, session_id in ((within, session.id), (without, None)):
        assert huey.result(result(enqueued), blocking=True, timeout=PATIENCE) == session_id


def test_pipelines_groups_and_chords_have_it(huey: Huey, manager: SessionManager) -> None:
    """Each of their tasks, also those that the consumer enqueues."""
    read, read_on = huey.tasks["read"], huey.tasks["read_on"]

    def enqueue() -> list[Any]:
        piped = huey.enqueue(read_on.s([]).then(read_on).then(read_on))
        grouped = huey.enqueue(group([read.s(), read.s()]))
        reduced = huey.enqueue(chord([read.s(), read.s()], read_on.s()))
        return [*piped._results, *grouped._results, reduced.callback]

    def seen(session_id: str | None) -> list[Any]:
        return [*([session_id] * times for times in (1, 2, 3)), session_id, session_id, [session_id] * 3]

    with manager.session() as session:
        within = enqueue()
    without = enqueue()
    assert [result(each) for each in within] == seen(session.id)
    assert [result(each) for each in without] == seen(None)


def test_hooks_signals_and_error_handlers_have_it(manager: SessionManager) -> None:
    """Those of a task, after a success as after a failure; nothing is left when they are done."""
    huey, seen = in_memory(), []
    for hook in (huey.pre_execute("before"), huey.post_execute("after"), huey.signal()):
        hook(lambda *_: seen.append(current_session_id()))
    divide = huey.task()(lambda divisor: 1 / divisor)
    handler = huey.task(name="handler")(lambda *_: None)
    with manager.session() as session:
        huey.enqueue(divide.s(0).error(handler))
        divide(1)
    for _ in range(3):
        huey.execute(huey.dequeue())
        assert current_session() is None
    assert set(seen) == {session.id}
    assert len(seen) == 3 * (2 + 2) + 3  # hooks, enqueued and executing, and how each of them ended


def test_a_task_that_is_enqueued_twice_has_the_session_of_each_sender(manager: SessionManager) -> None:
    """And is as it was before, so that nobody sees what it takes along."""
    huey = in_memory()
    task = huey.task()(lambda number, **_: current_session_id()).s(1, two=2)
    expected: list[str | None] = []
    for _ in range(2):
        with manager.session() as session:
            huey.enqueue(task)
            expected.append(session.id)
    huey.enqueue(task)
    arguments = [each.data for each in (task, *huey.pending())]
    assert arguments == [((1,), {"two": 2})] * 4
    assert [huey.execute(huey.dequeue()) for _ in range(3)] == [*expected, None]


def test_scheduled_tasks_have_it_and_periodic_ones_have_none(manager: SessionManager) -> None:
    """Also where the scheduler was started in a scope of somebody."""
    huey, later = in_memory(), dt.datetime.fromisoformat("2100-01-01")
    read = huey.task()(current_session_id)
    huey.periodic_task(lambda _: True, name="periodic")(current_session_id)
    with manager.session() as session:
        read.schedule(eta=later - dt.timedelta(hours=1))
    read.schedule(eta=later)
    for _ in range(2):
        huey.execute(huey.dequeue())
    with manager.session():
        for task in (*huey.read_schedule(later), *huey.read_periodic(later)):
            huey.enqueue(task)
    assert [huey.execute(huey.dequeue(), later) for _ in range(3)] == [session.id, None, None]


def test_in_immediate_mode_a_task_is_executed_in_the_session_of_its_caller(manager: SessionManager) -> None:
    """Which is the very same handle."""
    seen: list[Session | None] = []
    task = SessionHuey(immediate=True).task()(lambda: seen.append(current_session()))
    with manager.session() as session:
        task()
    task()
    assert seen == [session, None]


def test_a_session_that_could_not_be_created_goes_by_its_reference(
    huey: Huey, sessions_api: SessionsAPI
) -> None:
    """The datapoints of the task and those of its sender name the same."""
    sessions_api.answer = lambda _: Answer(503)
    for on_error in ("warn", "raise"):
        settings: Any = {"retries": 0, "on_error": on_error}
        with SessionManager(sessions_api.base_url, **settings) as manager, manager.session() as session:
            params = result(huey.tasks["log_params"]())
            assert params == [{"session_reference_id": session.reference_id}] * 2


def test_what_was_logged_is_sent_before_a_consumer_ends(redis_server: str, sessions_api: SessionsAPI) -> None:
    """By a process that executes tasks, and is told to end right after that."""
    sessions_api.answer = create_sessions_and_logs
    environment = {"REDIS_URL": f"{redis_server}/11", "HL_SESSIONS_BASE_URL": sessions_api.base_url}
    consumer = subprocess.run(
        [sys.executable, Path(__file__).with_name("huey_consumer_process.py")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (consumer.returncode, consumer.stderr) == (0, "")
    assert [log["source"] for log in stored_logs(sessions_api) if log["session_id"]] == ["in a task"]


def test_what_was_logged_is_sent_before_a_thread_of_a_consumer_ends(
    redis_server: str, sessions_api: SessionsAPI, manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process of one that restarts is replaced by another, without Python's own end."""
    monkeypatch.setattr("hl_sessions.integrations.huey.DEFAULT_TIMEOUT", PATIENCE)
    sessions_api.answer = create_sessions_and_logs
    huey = make_huey(f"{redis_server}/10", "restarting", manager)
    with consuming(huey) as consumer, manager.session():
        huey.task()(lambda: (log(project="bot"), consumer.stop()))()
        consumer.worker_threads[0][1].join()
        assert len(stored_logs(sessions_api)) == 1


def test_what_is_no_manager_is_refused() -> None:
    """At once, where it is given."""
    wrong: Any = "manager"
    with pytest.raises(ConfigurationError, match=r"^manager must be a SessionManager, not str$"):
        SessionHuey(manager=wrong)
