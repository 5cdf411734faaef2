"""The session that a message carries, at the sender and at the receiver."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from hl_sessions import (
    ConfigurationError,
    Session,
    SessionManager,
    bind,
    configure,
    current_session,
    current_session_id,
)
from hl_sessions.carrying import acarry, carried, carry
from hl_sessions.stores import MemoryStore
from tests.sessions_api import SessionsAPI, create_sessions_and_logs, fail

SESSION_ID = "sesh_0123-Az_"
REFERENCE_ID = "0123456789abcdef"


def sent() -> Any:
    """Return what arrives of the current session."""
    return json.loads(json.dumps(carry()))


def arrived(data: Any, manager: SessionManager) -> Session | None:
    with carried(data, manager) as session:
        assert current_session() is session
        return session


def test_a_job_has_the_id_of_its_sender(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """Taking it along creates the session; the handle of the job needs no call."""
    with manager.session() as session:
        taken = sent()
    handle = arrived(taken, manager)
    assert handle is not None
    assert handle.peek() == handle.id == session.peek()
    assert handle.log_params() == {"session_id": session.peek()}
    assert sessions_api.posts == 1


def test_a_long_reference_id_of_a_datapoint_costs_no_job_its_session(
    manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    sessions_api.answer = create_sessions_and_logs
    with manager.session() as session, manager.datapoint(project="p", reference_id="x" * 500):
        handle = arrived(sent(), manager)
    assert handle is not None
    assert handle.peek() == session.peek()


@pytest.mark.parametrize("on_error", ["warn", "raise"])
@pytest.mark.parametrize("key", [None, "chat-42"])
def test_a_job_of_a_session_without_an_id_logs_by_its_reference(
    make_manager: Callable[..., SessionManager], sessions_api: SessionsAPI, on_error: str, key: str | None
) -> None:
    """As its sender does from then on, so that their datapoints are in one session when the API is back."""
    works = sessions_api.answer
    sessions_api.answer = fail()
    manager, worker = make_manager(on_error=on_error), make_manager()
    with manager.session(key=key) as session:
        taken = sent()
        sessions_api.answer = works
        handle = arrived(taken, worker)
        assert handle is not None
        assert handle.peek() is None
        reference = {"session_reference_id": session.reference_id}
        assert handle.log_params() == session.log_params() == reference


def test_a_job_of_a_session_that_logs_by_its_reference_has_the_id_too(
    make_manager: Callable[..., SessionManager], sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the sender has one, as when its store is down; where it has none, none is made to send on."""
    store = MemoryStore()

    def fail_to_claim(*_: Any, **__: Any) -> bool:
        raise ConnectionError

    monkeypatch.setattr(store, "claim", fail_to_claim)
    manager = make_manager(store=store)
    with manager.session(key="chat-42") as session:
        assert session.id
        taken = sent()
        handle = arrived(taken, manager)
        assert handle is not None
        assert handle.peek() == session.id
        assert handle.log_params() == session.log_params() == {"session_reference_id": session.reference_id}
    with carried({"session_reference_id": REFERENCE_ID}, manager):
        assert carry() == {"session_reference_id": REFERENCE_ID}
    assert sessions_api.posts == 1


@pytest.mark.parametrize("prefetch", [0, 4])
def test_a_handle_belongs_to_the_manager_it_was_made_for(
    make_manager: Callable[..., SessionManager], prefetch: int
) -> None:
    """Every kind of handle does."""
    worker = make_manager(prefetch=prefetch)
    handle = arrived({"session_id": SESSION_ID}, worker)
    assert handle is not None
    assert handle.manager is worker
    assert handle.id == SESSION_ID


@pytest.mark.parametrize(
    "taken",
    [
        None,
        "",
        SESSION_ID,
        [SESSION_ID],
        {},
        {"session_id": None},
        {"session_id": "sesh_"},
        {"session_id": f"{SESSION_ID}\n"},
        {"session_id": "../etc"},
        {"session_id": [SESSION_ID]},
        {"session_reference_id": ""},
        {"session_reference_id": 1},
        {"session_reference_id": "a" * 257},
        {"session_reference_id": "a\0b"},
        {"session_reference_id": "\ud800"},
        {"session_id": SESSION_ID, "session_reference_id": ""},
        {"session_id": "../etc", "session_reference_id": "a"},
        {"session_id": SESSION_ID, "parent_reference_id": 1},
        {"session_id": SESSION_ID, "parent_reference_id": "a" * 257},
        {"session_id": SESSION_ID, "parent_reference_id": "\ud800"},
        {"other": SESSION_ID},
    ],
)
def test_what_is_malformed_is_no_session(manager: SessionManager, taken: Any) -> None:
    """Nor is it an error: the job is done without one."""
    assert arrived(taken, manager) is None


def test_other_names_of_a_message_are_ignored(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """So that headers may hold it, and what a later version adds costs no job its session."""
    with manager.session() as session:
        headers = {"priority": "3", **carry()}
    with carried(headers, manager):
        assert current_session_id() == session.id


def test_outside_every_scope_nothing_is_carried(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    assert carry() == asyncio.run(acarry()) == {}
    assert sessions_api.posts == 0


@pytest.mark.parametrize("data", [None, {}, "junk"])
def test_a_message_without_a_session_hides_the_one_that_is_current(
    manager: SessionManager, data: object
) -> None:
    """A consumer that was started in a scope must not serve all messages in it."""
    with manager.session() as session:
        with carried(data) as none:
            assert none is None
            assert current_session_id() is None
        assert current_session() is session


def test_a_scope_is_left_with_what_was_before(manager: SessionManager) -> None:
    """However often it is entered, and in async code, too."""
    scope = carried({"session_id": SESSION_ID}, manager)

    async def read() -> str | None:
        async with scope as session:
            assert session is not None
            return await session.aid()

    with manager.session() as session:
        for _ in range(2):
            with scope, scope:
                assert current_session_id() == SESSION_ID
            assert current_session() is session
        assert asyncio.run(read()) == SESSION_ID


def test_readers_of_two_messages_are_never_mixed(manager: SessionManager) -> None:
    """Each task has the session of its own message."""

    async def receive(session_id: str, all_are_in: asyncio.Event) -> None:
        async with carried({"session_id": session_id}, manager):
            await all_are_in.wait()
            assert current_session_id() == session_id
            await asyncio.to_thread(bind(others_read), session_id)

    def others_read(session_id: str) -> None:
        assert current_session_id() == session_id

    async def main() -> None:
        all_are_in = asyncio.Event()
        tasks = [asyncio.create_task(receive(f"sesh_{number}", all_are_in)) for number in range(8)]
        await asyncio.sleep(0)
        all_are_in.set()
        await asyncio.gather(*tasks)
        assert current_session() is None

    asyncio.run(main())


@pytest.mark.parametrize("on_error", ["warn", "raise"])
@pytest.mark.parametrize("key", [None, "chat-42"])
def test_async_senders_carry_the_same(
    make_manager: Callable[..., SessionManager], sessions_api: SessionsAPI, on_error: str, key: str | None
) -> None:
    """With the API, and without it."""
    manager = make_manager(on_error=on_error)

    async def send() -> dict[str, str]:
        async with manager.session(key=key) as session:
            data = await acarry()
            assert data == carry()
            assert (data == {"session_id": session.peek()}) is (session.peek() is not None)
            return data

    assert set(asyncio.run(send())) == {"session_id"}
    sessions_api.answer = fail()
    manager = make_manager(on_error=on_error)
    assert set(asyncio.run(send())) == {"session_reference_id"}


def test_the_default_manager_is_that_of_configure(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    default = configure(sessions_api.base_url)
    with carried({"session_id": SESSION_ID}) as session:
        assert session is not None
        assert session.manager is default


def test_a_manager_that_is_none_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match="manager must be a SessionManager, not str"):
        carried({}, "manager")  # type: ignore[arg-type]
