"""Messages are handled in the session of their publisher: a real Redis between them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("faststream.redis")

from faststream import AckPolicy
from faststream.redis import ListSub, RedisBroker, RedisMessage, StreamSub, TestRedisBroker

from hl_sessions import (
    ConfigurationError,
    SessionManager,
    configure,
    current_session,
    current_session_id,
    log,
)
from hl_sessions.integrations.carried_fields import as_fields, from_fields
from hl_sessions.integrations.faststream import SessionMiddleware
from tests.sessions_api import Gate, SessionsAPI, create_sessions_and_logs, fail, stored_logs
from tests.waiting import PATIENCE

Test = Callable[[RedisBroker, "asyncio.Queue[Any]"], Coroutine[Any, Any, None]]
Run = Callable[[Test], None]


@pytest.fixture
def run(redis_server: str, manager: SessionManager) -> Run:
    """Runs a test with a broker that is connected, and a queue for what handlers see."""

    def run(test: Test) -> None:
        async def main() -> None:
            broker = RedisBroker(f"{redis_server}/9", middlewares=[SessionMiddleware(manager)])
            async with broker:
                await test(broker, asyncio.Queue())

        asyncio.run(main())

    return run


@pytest.fixture
def name() -> str:
    """Return the name of a list that no other test uses."""
    return uuid4().hex


async def first(seen: "asyncio.Queue[Any]") -> Any:
    """Return what a handler has seen first; waits for it."""
    return await asyncio.wait_for(seen.get(), PATIENCE)


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_a_message_is_handled_in_the_session_of_its_publisher(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI, name: str, kind: str
) -> None:
    """Publishing it creates the session, if nothing has before; the handler creates none."""

    async def test(broker: RedisBroker, seen: "asyncio.Queue[Any]") -> None:
        loop = asyncio.get_running_loop()

        def handle() -> None:
            loop.call_soon_threadsafe(seen.put_nowait, current_session_id())

        async def handle_in_coroutine() -> None:
            handle()

        broker.subscriber(list=name)(handle if kind == "function" else handle_in_coroutine)
        await broker.start()
        async with manager.session() as session:
            await broker.publish("", list=name, headers={"mine": "1"})
            assert session.peek() is not None
        assert await first(seen) == session.peek()

    run(test)
    assert sessions_api.posts == 1


def test_a_message_that_was_published_outside_every_scope_has_no_session(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI, name: str
) -> None:
    """Right after one that has one, from a broker that was itself started in a scope."""

    async def test(broker: RedisBroker, seen: "asyncio.Queue[Any]") -> None:
        @broker.subscriber(list=name)
        async def handle(message: RedisMessage) -> None:
            seen.put_nowait((current_session_id(), bool(from_fields(message.headers))))

        async with manager.session():
            await broker.start()
        for _ in range(2):
            async with manager.session() as session:
                await broker.publish("", list=name)
            await broker.publish("", list=name)
            assert await first(seen) == (session.id, True)
            assert await first(seen) == (None, False)

    run(test)
    assert sessions_api.posts == 2


def test_what_a_handler_returns_has_the_session_of_its_message(
    run: Run, manager: SessionManager, name: str
) -> None:
    """Or none, as that has none."""

    async def test(broker: RedisBroker, seen: "asyncio.Queue[Any]") -> None:
        @broker.subscriber(list=name)
        @broker.publisher(list=f"{name} next")
        async def handle() -> str:
            async with manager.session(new=True):
                return "done"

        @broker.subscriber(list=f"{name} next")
        async def handle_next() -> None:
            seen.put_nowait(current_session_id())

        async with manager.session():
            await broker.start()
        async with manager.session() as session:
            await broker.publish("", list=name)
        assert await first(seen) == session.id
        await broker.publish("", list=name)
        assert await first(seen) is None

    run(test)


def test_what_a_handler_publishes_has_the_session_it_is_published_in(
    run: Run, manager: SessionManager, name: str
) -> None:
    """That of its message, or a scope of its own."""

    async def test(broker: RedisBroker, seen: "asyncio.Queue[Any]") -> None:
        @broker.subscriber(list=name)
        async def handle() -> None:
            await broker.publish("", list=f"{name} next")
            async with manager.session(new=True) as own:
                await broker.publish("", list=f"{name} next")
            seen.put_nowait(own.id)

        @broker.subscriber(list=f"{name} next")
        async def handle_next() -> None:
            seen.put_nowait(current_session_id())

        await broker.start()
        async with manager.session() as session:
            await broker.publish("", list=name)
        found = [await first(seen) for _ in range(3)]
        assert len(set(found)) == 2
        assert session.id in found

    run(test)


def test_a_request_leaves_the_caller_where_it_was(run: Run, manager: SessionManager, name: str) -> None:
    """Though the reply names the session, too."""

    async def test(broker: RedisBroker, _: "asyncio.Queue[Any]") -> None:
        @broker.subscriber(name)
        async def handle() -> str:
            return str(current_session_id())

        await broker.start()
        async with manager.session() as session:
            reply = await broker.request("", name, timeout=PATIENCE)
            assert current_session() is session
        assert await reply.decode() == session.id
        reply = await broker.request("", name, timeout=PATIENCE)
        assert await reply.decode() == "None"
        assert current_session() is None

    run(test)


def test_a_message_that_is_handled_again_keeps_its_session(
    run: Run, manager: SessionManager, name: str
) -> None:
    """By the consumer that claims it after a failure."""

    async def test(broker: RedisBroker, seen: "asyncio.Queue[Any]") -> None:
        @broker.subscriber(
            stream=StreamSub(name, group="g", consumer="a"), ack_policy=AckPolicy.NACK_ON_ERROR
        )
        async def fail_to_handle() -> None:
            seen.put_nowait(current_session_id())
            raise ValueError

        @broker.subscriber(stream=StreamSub(name, group="g", consumer="b", min_idle_time=1))
        async def handle() -> None:
            seen.put_nowait(current_session_id())

        await broker.start()
        async with manager.session() as session:
            await broker.publish("", stream=name)
        assert [await first(seen), await first(seen)] == [session.id] * 2

    run(test)


def test_messages_that_are_handled_at_the_same_time_keep_their_own(
    run: Run, manager: SessionManager, name: str
) -> None:
    """Each the session of its publisher."""

    async def test(broker: RedisBroker, seen: "asyncio.Queue[Any]") -> None:
        here: list[str] = []
        both_are_here = asyncio.Event()

        @broker.subscriber(list=name, max_workers=2)
        async def handle(message: str) -> None:
            here.append(message)
            if len(here) == 2:
                both_are_here.set()
            await both_are_here.wait()
            seen.put_nowait((message, current_session_id()))

        await broker.start()
        expected = {}
        for message in ("one", "other"):
            async with manager.session() as session:
                await broker.publish(message, list=name)
            expected[message] = session.id
        assert dict([await first(seen), await first(seen)]) == expected

    run(test)


def test_a_batch_of_messages_has_a_session_if_all_of_them_have(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI, name: str
) -> None:
    """The same one, also if datapoints are open in it; otherwise none gets that of another."""
    sessions_api.answer = create_sessions_and_logs

    async def test(broker: RedisBroker, seen: "asyncio.Queue[Any]") -> None:
        @broker.subscriber(list=ListSub(name, batch=True, max_records=2))
        async def handle(messages: list[str]) -> None:
            seen.put_nowait(("".join(messages), current_session_id()))

        async with manager.session() as session:
            await broker.publish("a", list=name)
            with manager.datapoint(project="bot", source="publisher"):
                await broker.publish("b", list=name)
            await broker.publish("c", list=name)
        async with manager.session():
            await broker.publish("d", list=name)
            await broker.publish("e", list=name)
        await broker.publish("f", list=name)
        await broker.start()
        batches = dict([await first(seen) for _ in range(3)])
        assert batches == {"ab": session.id, "cd": None, "ef": None}

    run(test)


@pytest.mark.parametrize("reference_id", ["question-1", "Frage nach Käse: 50%25"])
def test_datapoints_of_a_handler_are_nested_under_that_of_the_publisher(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI, name: str, reference_id: str
) -> None:
    """In its session; the message can be read, whatever letters the reference ID has."""
    sessions_api.answer = create_sessions_and_logs

    async def test(broker: RedisBroker, seen: "asyncio.Queue[Any]") -> None:
        @broker.subscriber(list=name)
        async def handle(message: str) -> None:
            assert message == "text"
            seen.put_nowait(log(project="bot", source="in a handler"))

        await broker.start()
        async with manager.session() as session:
            with manager.datapoint(project="bot", source="publisher", reference_id=reference_id):
                await broker.publish("text", list=name)
            nested = await first(seen)
        assert manager.flush(PATIENCE)
        [stored] = [each for each in stored_logs(sessions_api) if each["reference_id"] == nested]
        assert stored["session_id"] == session.id
        assert stored["parent_reference_id"] == reference_id

    run(test)


def test_a_session_that_could_not_be_created_goes_by_its_reference(
    run: Run, manager: SessionManager, sessions_api: SessionsAPI, name: str
) -> None:
    """The message is still published."""
    sessions_api.answer = fail()

    async def test(broker: RedisBroker, seen: "asyncio.Queue[Any]") -> None:
        @broker.subscriber(list=name)
        async def handle() -> None:
            session = current_session()
            seen.put_nowait(session and session.log_params())

        await broker.start()
        async with manager.session() as session:
            await broker.publish("", list=name)
        assert await first(seen) == {"session_reference_id": session.reference_id}

    run(test)


def test_publishing_does_not_block_the_event_loop(
    run: Run, manager: SessionManager, gate: Gate, name: str
) -> None:
    """While the session is created."""

    async def test(broker: RedisBroker, _: "asyncio.Queue[Any]") -> None:
        async with manager.session() as session:
            publishing = asyncio.create_task(broker.publish("", list=name))
            await asyncio.to_thread(gate.arrived.wait, PATIENCE)
            gate.opened.set()
            await publishing
            assert session.peek() is not None

    run(test)


MALFORMED = [
    {"session_id": ""},
    {"session_id": "1"},
    {"session_id": f"sesh_{'1' * 5000}"},
    {"session_reference_id": "1" * 5000},
    {"session_id": "sesh_1", "parent_reference_id": ""},
    {"parent_reference_id": "1"},
    {"": "sesh_1"},
]


def test_a_malformed_header_is_no_session(run: Run, sessions_api: SessionsAPI, name: str) -> None:
    """Nor is it passed on."""

    async def test(broker: RedisBroker, seen: "asyncio.Queue[Any]") -> None:
        @broker.subscriber(list=name)
        @broker.publisher(list=f"{name} next")
        async def handle() -> str:
            return str(current_session_id())

        @broker.subscriber(list=f"{name} next")
        async def handle_next(message: RedisMessage) -> None:
            seen.put_nowait((await message.decode(), from_fields(message.headers)))

        await broker.start()
        for fields in MALFORMED:
            await broker.publish("", list=name, headers=as_fields(fields))
            assert await first(seen) == ("None", {})

    run(test)
    assert sessions_api.posts == 0


def test_the_manager_of_a_handler_is_the_default_one_unless_one_is_given(
    manager: SessionManager, sessions_api: SessionsAPI, name: str
) -> None:
    """Which may be configured later; a broker in memory does the same."""
    brokers = [RedisBroker(middlewares=[SessionMiddleware(*given)]) for given in ([], [manager])]
    configured = configure(base_url=sessions_api.base_url)
    found: list[object] = []

    async def handle() -> None:
        session = current_session()
        found.append(session and session.manager)

    async def main() -> None:
        for broker in brokers:
            broker.subscriber(list=name)(handle)
            async with TestRedisBroker(broker), configured.session():
                await broker.publish("", list=name)

    asyncio.run(main())
    assert found == [configured, manager]


def test_what_is_no_manager_is_refused() -> None:
    """At once."""
    not_a_manager: Any = "http://127.0.0.1:8642/v4"
    with pytest.raises(ConfigurationError):
        SessionMiddleware(not_a_manager)
