"""Tasks are executed in the session of their sender: a real Redis between them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

pytest.importorskip("taskiq_redis")

from taskiq import AsyncBroker, InMemoryBroker, SimpleRetryMiddleware
from taskiq.api import run_receiver_task
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from hl_sessions import (
    ConfigurationError,
    SessionManager,
    configure,
    current_session,
    current_session_id,
    log,
)
from hl_sessions.datapoints import sender
from hl_sessions.integrations.carried_fields import from_fields
from hl_sessions.integrations.taskiq import SessionMiddleware
from tests.sessions_api import Gate, SessionsAPI, create_sessions_and_logs, fail, stored_logs
from tests.waiting import PATIENCE

Run = Callable[[Callable[[AsyncBroker], Coroutine[Any, Any, None]]], None]


def redis_broker(url: str, manager: SessionManager | None = None) -> AsyncBroker:
    results: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(url)
    middlewares = (SessionMiddleware(manager), SimpleRetryMiddleware())
    return ListQueueBroker(url).with_result_backend(results).with_middlewares(*middlewares)


def read() -> str | None:
    return current_session_id()


async def read_in_coroutine() -> str | None:
    return current_session_id()


def log_params() -> dict[str, str]:
    session = current_session()
    return {} if session is None else session.log_params()


def log_datapoint() -> str:
    return log(project="bot", source="in a task")


def add_tasks(broker: AsyncBroker, manager: SessionManager) -> None:
    """Add tasks that tell what session they are in."""
    attempts: list[str | None] = []
    here: list[str | None] = []
    both_are_here = asyncio.Event()

    async def read_twice() -> list[str | None]:
        attempts.append(current_session_id())
        if len(attempts) < 2:
            raise ValueError
        return attempts

    async def read_together() -> str | None:
        here.append(current_session_id())
        if len(here) == 2:
            both_are_here.set()
        await both_are_here.wait()
        return current_session_id()

    async def send() -> list[str | None]:
        with manager.session(new=True) as own:
            within = await result(broker, "read")
        return [own.id, within, await result(broker, "read")]

    tasks: dict[str, Callable[[], Any]] = {
        "read": read,
        "read in coroutine": read_in_coroutine,
        "read twice": read_twice,
        "read together": read_together,
        "send": send,
        "log params": log_params,
        "log datapoint": log_datapoint,
    }
    for name, function in tasks.items():
        broker.register_task(function, name, retry_on_error=True)


def run_with(
    redis_server: str, manager: SessionManager, test: Callable[[AsyncBroker], Coroutine[Any, Any, None]]
) -> None:
    """Run a test with a broker and its tasks."""

    async def main() -> None:
        broker = redis_broker(f"{redis_server}/6", manager)
        add_tasks(broker, manager)
        await broker.startup()
        try:
            await test(broker)
        finally:
            await broker.shutdown()

    asyncio.run(main())


@pytest.fixture
def run(redis_server: str, manager: SessionManager) -> Run:
    return partial(run_with, redis_server, manager)


@asynccontextmanager
async def working(broker: AsyncBroker) -> AsyncIterator[None]:
    """Run a worker, in a task of its own."""
    worker = asyncio.create_task(run_receiver_task(broker))
    try:
        yield
    finally:
        worker.cancel()
        await asyncio.wait([worker])


def current_manager() -> object:
    session = current_session()
    return None if session is None else session.manager


async def result(broker: AsyncBroker, name: str) -> Any:
    """Send a task, and return what it returns."""
    return await returned(await sent(broker, name))


async def sent(broker: AsyncBroker, name: str) -> Any:
    task = broker.find_task(name)
    assert task is not None
    return await task.kiq()


async def returned(task: Any) -> Any:
    found = await task.wait_result(check_interval=0.005, timeout=PATIENCE)
    found.raise_for_error()
    return found.return_value


@pytest.mark.parametrize("name", ["read", "read in coroutine"])
def test_a_task_is_executed_in_the_session_of_its_sender(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI, name: str
) -> None:
    """Sending it creates the session, if nothing has before; the worker creates none."""

    async def test(broker: AsyncBroker) -> None:
        async with working(broker), manager.session() as session:
            task = await sent(broker, name)
            assert session.peek() is not None
            assert await returned(task) == session.peek()

    run(test)
    assert sessions_api.posts == 1


def test_a_task_that_was_sent_outside_every_scope_has_no_session(run: Run, manager: SessionManager) -> None:
    """Right after one that has one, and in a worker that was itself started in a scope."""

    async def test(broker: AsyncBroker) -> None:
        async with manager.session() as session:
            started_within = working(broker)
            await started_within.__aenter__()
        for name in ("read", "read in coroutine"):
            async with manager.session() as session:
                assert await result(broker, name) == session.id
            assert await result(broker, name) is None
        await started_within.__aexit__(None, None, None)

    run(test)


def test_a_retry_has_the_session_of_the_first_attempt(run: Run, manager: SessionManager) -> None:
    """Or none, as that had none."""

    async def test(broker: AsyncBroker) -> None:
        async with working(broker), manager.session() as session:
            assert await result(broker, "read twice") == [session.id] * 2

    async def test_without(broker: AsyncBroker) -> None:
        async with working(broker):
            assert await result(broker, "read twice") == [None] * 2

    run(test)
    run(test_without)


def test_a_task_that_is_sent_again_keeps_its_session(run: Run, manager: SessionManager) -> None:
    """As by a scheduler, which may run in any scope."""

    async def test(broker: AsyncBroker) -> None:
        async with working(broker):
            async with manager.session() as session:
                first = await (await sent(broker, "read")).wait_result(check_interval=0.005, timeout=PATIENCE)
            async with manager.session():
                task = broker.find_task("read")
                assert task is not None
                again = await task.kicker().with_labels(**first.labels).kiq()
            assert await returned(again) == first.return_value == session.id

    run(test)


def test_a_task_of_a_task_has_the_session_it_was_sent_in(run: Run, manager: SessionManager) -> None:
    """That of its task, or a scope of its own."""

    async def test(broker: AsyncBroker) -> None:
        async with working(broker), manager.session() as session:
            own, within, after = await result(broker, "send")
            assert own == within != session.id
            assert after == session.id

    run(test)


def test_tasks_that_are_executed_at_the_same_time_keep_their_own(run: Run, manager: SessionManager) -> None:
    """Each the session of its sender."""

    async def test(broker: AsyncBroker) -> None:
        async with working(broker):
            async with manager.session() as first:
                one = await sent(broker, "read together")
            async with manager.session() as second:
                other = await sent(broker, "read together")
            assert [await returned(one), await returned(other)] == [first.id, second.id]

    run(test)


def test_datapoints_of_a_task_are_nested_under_that_of_its_sender(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """In its session."""
    sessions_api.answer = create_sessions_and_logs

    async def test(broker: AsyncBroker) -> None:
        async with working(broker), manager.session() as session:
            with manager.datapoint(project="bot", source="sender") as outer:
                reference_id = await result(broker, "log datapoint")
            assert manager.flush(PATIENCE)
            [stored] = [each for each in stored_logs(sessions_api) if each["reference_id"] == reference_id]
            assert stored["session_id"] == session.id
            assert stored["parent_reference_id"] == outer.reference_id

    run(test)


def test_a_session_that_could_not_be_created_goes_by_its_reference(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """The task is still sent."""
    sessions_api.answer = fail()

    async def test(broker: AsyncBroker) -> None:
        async with working(broker), manager.session() as session:
            assert await result(broker, "log params") == {"session_reference_id": session.reference_id}

    run(test)


def test_sending_does_not_block_the_event_loop(run: Run, manager: SessionManager, gate: Gate) -> None:
    """While the session is created."""

    async def test(broker: AsyncBroker) -> None:
        async with working(broker), manager.session() as session:
            sending = asyncio.create_task(sent(broker, "read"))
            await asyncio.to_thread(gate.arrived.wait, PATIENCE)
            gate.opened.set()
            assert await returned(await sending) == session.peek()

    run(test)


def test_a_task_without_a_session_takes_nothing_along(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """And one with a malformed label has none."""

    async def test(broker: AsyncBroker) -> None:
        async with working(broker):
            found = await (await sent(broker, "read")).wait_result(check_interval=0.005, timeout=PATIENCE)
            assert not from_fields(found.labels)
            task = broker.find_task("read")
            assert task is not None
            for malformed in ("", "1", "sesh_", 1, 1.0, True, "1" * 5000):
                labels = {"hl_sessions_session_id": malformed}
                assert await returned(await task.kicker().with_labels(**labels).kiq()) is None

    run(test)
    assert sessions_api.posts == 0


def test_a_worker_sends_its_datapoints_before_it_ends(
    redis_server: str, sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its process may end without Python's own end."""
    monkeypatch.setattr(sender, "INTERVAL", PATIENCE)
    sessions_api.answer = create_sessions_and_logs

    with SessionManager(sessions_api.base_url) as manager:

        async def test(broker: AsyncBroker) -> None:
            async with working(broker), manager.session():
                await result(broker, "log datapoint")

        run_with(redis_server, manager, test)
        assert len(stored_logs(sessions_api)) == 1


def test_a_broker_in_memory_leaves_the_sender_where_it_was(manager: SessionManager) -> None:
    """Though it executes the task in the task that sends it, and tasks of that in turn."""

    async def main() -> None:
        broker = InMemoryBroker(await_inplace=True).with_middlewares(SessionMiddleware(manager))
        add_tasks(broker, manager)
        async with manager.session() as session:
            own, within, after = await result(broker, "send")
            assert own == within != session.id
            assert after == session.id
            assert current_session() is session
        assert await result(broker, "read") is None
        assert current_session() is None

    asyncio.run(main())


def test_the_manager_of_a_task_is_the_default_one_unless_one_is_given(
    manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Which may be configured later."""
    brokers = [InMemoryBroker().with_middlewares(SessionMiddleware(*given)) for given in ([], [manager])]
    configured = configure(base_url=sessions_api.base_url)

    async def main() -> None:
        found: list[object] = []
        async with configured.session():
            for broker in brokers:
                broker.register_task(lambda: found.append(current_manager()), "find")
                await result(broker, "find")
        assert found == [configured, manager]

    asyncio.run(main())


def test_what_is_no_manager_is_refused() -> None:
    """At once."""
    not_a_manager: Any = "http://127.0.0.1:8642/v4"
    with pytest.raises(ConfigurationError):
        SessionMiddleware(not_a_manager)
