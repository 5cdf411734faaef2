"""Messages are processed in the session of their sender: a real worker, on a real Redis."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dramatiq")

from dramatiq import Message, Worker, group, pipeline
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO, Middleware

from hl_sessions import ConfigurationError, Session, SessionManager, current_session
from hl_sessions.integrations.dramatiq import SessionMiddleware
from tests.integrations.dramatiq_actors import make_broker
from tests.interpreters import bare_threads
from tests.sessions_api import Answer, SessionsAPI, create_sessions_and_logs, stored_logs
from tests.waiting import PATIENCE, wait_until

MILLISECONDS = int(PATIENCE * 1000)


@pytest.fixture(scope="module")
def worker_api() -> Iterator[SessionsAPI]:
    """The sessions API of the worker, which is not that of the sender."""
    api = SessionsAPI()
    yield api
    api.close()


class PatientAsyncIO(AsyncIO):
    """Allow the event loop more than one second to start, on a busy machine."""

    def before_worker_boot(self, *_: object) -> None:
        event_loop_thread = EventLoopThread(self.logger)
        event_loop_thread.start(timeout=PATIENCE)
        set_event_loop_thread(event_loop_thread)


class Watching(Middleware):
    """Look for a session that is left in the thread of a worker when it is done with a message."""

    def __init__(self) -> None:
        self.left: list[Session | None] = []

    def after_ack(self, *_: object) -> None:
        self.left.append(current_session())

    def after_nack(self, *_: object) -> None:
        self.left.append(current_session())


@pytest.fixture(scope="module")
def watching() -> Watching:
    return Watching()


@pytest.fixture(scope="module")
def broker(redis_server: str, worker_api: SessionsAPI, watching: Watching) -> Iterator[RedisBroker]:
    """One on whose messages a thread of a worker waits, which was started in a scope of somebody."""
    with SessionManager(worker_api.base_url) as manager:
        broker = make_broker(f"{redis_server}/8", PatientAsyncIO(), SessionMiddleware(manager), watching)
        worker = Worker(broker, worker_threads=1, worker_timeout=10)
        with manager.session():
            worker.start()
        yield broker
        worker.stop()
        broker.close()


def result(broker: RedisBroker, message: Any) -> Any:
    """What processing the message gives; waits for it."""
    return message.get_result(backend=broker.get_results_backend(), block=True, timeout=MILLISECONDS)


def noted(broker: RedisBroker, key: str) -> str:
    """What a callback has noted; waits for it."""
    found: Any = broker.client.blpop([f"noted-{key}"], timeout=PATIENCE)
    assert found is not None
    return str(found[1].decode())


def send(broker: RedisBroker, name: str, *args: Any, **options: Any) -> Message[Any]:
    return broker.get_actor(name).send_with_options(args=args, **options)


@pytest.mark.parametrize("name", ["read", "read_in_coroutine"])
def test_a_message_is_processed_in_the_session_of_whoever_sent_it(
    broker: RedisBroker,
    manager: SessionManager,
    sessions_api: SessionsAPI,
    worker_api: SessionsAPI,
    name: str,
) -> None:
    """Sending it creates the session, if nothing has before; the worker creates none."""
    posts = worker_api.posts
    with manager.session() as session:
        sent = send(broker, name)
        assert session.peek() is not None
    assert result(broker, sent) == session.peek()
    assert sessions_api.posts == 1
    assert worker_api.posts == posts


def test_datapoints_of_an_actor_are_nested_under_that_of_its_sender(
    broker: RedisBroker, manager: SessionManager, sessions_api: SessionsAPI, worker_api: SessionsAPI
) -> None:
    """In its session, and by the manager of the worker."""
    sessions_api.answer = worker_api.answer = create_sessions_and_logs
    with manager.session() as session, manager.datapoint(project="bot", source="sender") as sender:
        reference_id = result(broker, send(broker, "log_datapoint"))
    wait_until(lambda: reference_id in {log["reference_id"] for log in stored_logs(worker_api)})
    [log] = [log for log in stored_logs(worker_api) if log["reference_id"] == reference_id]
    assert log["session_id"] == session.peek()
    assert log["parent_reference_id"] == sender.reference_id


@pytest.mark.parametrize("delay", [None, 1])
def test_a_message_that_was_sent_outside_every_scope_has_no_session(
    broker: RedisBroker, manager: SessionManager, sessions_api: SessionsAPI, delay: int | None
) -> None:
    """In any thread, regardless of what it has processed before; also for delayed messages."""
    with manager.session() as session:
        within = [send(broker, name, delay=delay) for name in ("read", "read_in_coroutine")]
    without = [send(broker, name, delay=delay) for name in ("read", "read_in_coroutine", "log_params")]
    assert [result(broker, each) for each in within] == [session.id] * 2
    assert [result(broker, each) for each in without] == [None, None, []]
    assert all("hl_sessions" not in each.options for each in without)
    assert sessions_api.posts == 1


@bare_threads
@pytest.mark.parametrize("name", ["read", "fail"])
def test_nothing_is_left_in_the_thread_of_a_worker(
    broker: RedisBroker, watching: Watching, manager: SessionManager, name: str
) -> None:
    """After a success as after a failure."""
    done = len(watching.left)
    with manager.session():
        send(broker, name, max_retries=0)
    wait_until(lambda: len(watching.left) > done)
    assert set(watching.left) == {None}


def test_retries_have_the_session_of_the_first_attempt(broker: RedisBroker, manager: SessionManager) -> None:
    """Also where the actor fails in a scope of its own, and where it had no session."""
    with manager.session() as session:
        within = send(broker, "fail_twice")
    without = send(broker, "fail_twice")
    assert result(broker, within) == [session.id] * 3
    assert result(broker, without) == [None] * 3


def test_a_message_of_an_actor_has_it(broker: RedisBroker, manager: SessionManager) -> None:
    """A message of a message."""
    with manager.session() as session:
        within = send(broker, "send")
    without = send(broker, "send")
    assert result(broker, Message(**result(broker, within))) == session.id
    assert result(broker, Message(**result(broker, without))) is None


def test_pipelines_have_it(broker: RedisBroker, manager: SessionManager) -> None:
    """All their messages but the first are sent by the worker."""
    messages = [broker.get_actor("read_on").message() for _ in range(3)]
    with manager.session() as session:
        sent = pipeline(messages, broker=broker)
        sent.run()
    assert result(broker, sent.messages[-1]) == [session.id] * 3


@pytest.mark.parametrize("name", ["read", "fail"])
def test_callbacks_have_it(broker: RedisBroker, manager: SessionManager, name: str) -> None:
    """After a success as after a failure."""
    options = {"on_success": "note", "on_failure": "note", "max_retries": 0}
    with manager.session() as session:
        within = send(broker, name, **options)
    without = send(broker, name, **options)
    assert noted(broker, within.message_id) == session.id
    assert noted(broker, without.message_id) == "none"


def test_callbacks_of_a_group_have_it(broker: RedisBroker, manager: SessionManager) -> None:
    """The worker sends them after the last of its messages."""
    messages = group([broker.get_actor("read").message() for _ in range(2)], broker=broker)
    messages.add_completion_callback(broker.get_actor("note").message({"message_id": "a-group"}))
    with manager.session() as session:
        messages.run()
    assert noted(broker, "a-group") == session.id


def test_a_message_that_is_sent_twice_has_the_session_of_each_sender(
    broker: RedisBroker, manager: SessionManager
) -> None:
    """With any broker: that of Redis sends a copy, others the message itself."""
    in_memory = StubBroker(middleware=[SessionMiddleware()])
    in_memory.declare_queue("default")
    message: Message[Any] = Message("default", "read", (), {}, {})
    carried = []
    for _ in range(2):
        with manager.session() as session:
            in_memory.enqueue(message)
            carried.append(message.options["hl_sessions"])
            assert carried[-1] == {"session_id": session.id}
    assert carried[0] != carried[1]
    in_memory.enqueue(message)
    assert message.options == {}


def test_a_session_that_could_not_be_created_goes_by_its_reference(
    broker: RedisBroker, sessions_api: SessionsAPI
) -> None:
    """The datapoints of the actor and those of its sender name the same."""
    sessions_api.answer = lambda _: Answer(503)
    for on_error in ("warn", "raise"):
        settings: Any = {"retries": 0, "on_error": on_error}
        with SessionManager(sessions_api.base_url, **settings) as manager, manager.session() as session:
            params = result(broker, send(broker, "log_params"))
            assert params == [{"session_reference_id": session.reference_id}] * 2


@pytest.mark.slow
def test_what_was_logged_is_sent_before_a_worker_ends(
    redis_server: str, manager: SessionManager, worker_api: SessionsAPI
) -> None:
    """By a process of the command, which is told to end right after that."""
    worker_api.answer = create_sessions_and_logs
    url = f"{redis_server}/9"
    environment = {"REDIS_URL": url, "HL_SESSIONS_BASE_URL": worker_api.base_url}
    worker = subprocess.Popen(
        [sys.executable, "-m", "dramatiq", "dramatiq_worker", "--processes=1", "--threads=1"],
        env={**os.environ, **environment},
        cwd=Path(__file__).parent,
        stderr=subprocess.DEVNULL,
    )
    broker = make_broker(url, SessionMiddleware())
    with manager.session() as session:
        send(broker, "log_and_end")
    broker.close()
    assert worker.wait(PATIENCE) == 0
    assert session.id in [log["session_id"] for log in stored_logs(worker_api)]


def test_what_is_no_manager_is_refused() -> None:
    """At once, where it is given."""
    wrong: Any = "manager"
    with pytest.raises(ConfigurationError, match=r"^manager must be a SessionManager, not str$"):
        SessionMiddleware(wrong)
