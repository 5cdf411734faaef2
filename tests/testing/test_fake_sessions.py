"""The fixture ``hl_sessions``, as the tests of an application use it."""

import asyncio
import copy
import json
import logging
import pickle
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests_mock
import trio

import hl_sessions as package
from hl_sessions import (
    NotFoundError,
    RateLimitError,
    ServerError,
    Session,
    SessionManager,
    SessionsClient,
    configure,
    current_session,
    current_session_id,
    datapoint,
    flush,
    log,
    with_session,
)
from hl_sessions.stores import SQLiteStore
from hl_sessions.testing import FakeSessions
from tests.sessions_api import Answer, SessionsAPI, create_sessions_and_logs, fail
from tests.waiting import PATIENCE, in_threads, wait_until

FIRST, SECOND = "sesh_test000000000000000001", "sesh_test000000000000000002"
LOOPS = pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])


@with_session
def read() -> str | None:
    return current_session_id()


@with_session(key="chat")
def answer(chat: str, question: str) -> str:
    with datapoint(project="support", source="answer", inputs={"question": question}) as answer:
        log(project="support", source="moderation", output="fine")
        answer.output = "42"
    return "42"


def test_ids_are_the_same_in_each_run(hl_sessions: FakeSessions) -> None:
    assert hl_sessions.created == 0
    assert [read(), read()] == [FIRST, SECOND]
    assert hl_sessions.created == 2
    assert [session.id for session in hl_sessions.sessions] == [FIRST, SECOND]


def test_what_was_logged(hl_sessions: FakeSessions) -> None:
    """Each datapoint has its fields as attributes, and those around and inside it."""
    answer("chat-1", "Why?")
    outer, inner = hl_sessions.datapoints
    assert (outer.project, outer.source, outer.inputs) == ("support", "answer", {"question": "Why?"})
    assert (outer.output, outer.error, outer.parent, outer.session_id) == ("42", None, None, FIRST)
    assert outer.duration >= 0
    assert (inner.parent, outer.children, inner.session_id) == (outer, [inner], FIRST)
    assert repr(inner) == "LoggedDatapoint(project='support', source='moderation', output='fine')"
    with pytest.raises(AttributeError, match="no field 'outputs'"):
        inner.outputs  # noqa: B018
    [session] = hl_sessions.sessions
    assert (session.key, session.datapoints) == ("chat-1", [outer, inner])


def test_a_datapoint_that_is_open(hl_sessions: FakeSessions) -> None:
    """A test may look at it before it has ended, and again afterwards."""
    unknown: Any = {"unknown": 1}
    with datapoint(project="p", source="stream", **unknown) as open_datapoint:
        [seen] = hl_sessions.datapoints
        assert (seen.output, seen.unknown) == (None, 1)
        open_datapoint.output = "all of it"
    assert hl_sessions.datapoints == [seen]
    assert (seen.output, seen.session_id) == ("all of it", None)


def test_where_sessions_were_read_first(hl_sessions: FakeSessions) -> None:
    read()
    answer("chat-1", "Why?")
    first, second = map(str, hl_sessions.sessions)
    assert first.startswith(f"{FIRST}, first read in ")
    assert f"test_fake_sessions.py:{read.__code__.co_firstlineno + 2}" in first
    assert second == f"{SECOND} of the conversation 'chat-1', created for what was logged"


def test_the_application_is_named_where_a_library_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an event loop does, in the task that it makes of a read; in any folder that the tests run in."""

    async def main(manager: SessionManager) -> None:
        async with manager.session() as session:
            await asyncio.gather(session.aid())

    monkeypatch.chdir(tmp_path)
    with FakeSessions() as fake_sessions:
        asyncio.run(main(fake_sessions.manager))
        [session] = fake_sessions.sessions
    assert session.read_in is not None
    assert session.read_in.rpartition(":")[0] == __file__


@LOOPS
def test_async_code(run: Callable[[Any], Any], hl_sessions: FakeSessions) -> None:
    async def main() -> None:
        async with hl_sessions.manager.session() as session:
            assert await session.aid() == FIRST
            hl_sessions.manager.log(project="p", output="x")
            assert [each.session_id for each in hl_sessions.datapoints] == [FIRST]

    run(main) if run is trio.run else run(main())
    [session] = hl_sessions.sessions
    assert "test_fake_sessions.py" in str(session.read_in)


def test_every_manager_answers_from_memory(hl_sessions: FakeSessions) -> None:
    """Whether it was made before the test or in it, and with any URL."""
    told: list[Session] = []
    with SessionManager("http://127.0.0.1:1/v4", on_error="raise", on_created=told.append) as manager:
        with manager.session(key="chat") as session:
            assert session.id == FIRST
            manager.log(project="p", output="x")
        assert told == [session]
        assert len(hl_sessions.datapoints) == 1
        assert hl_sessions.created == 1
    with SessionManager("http://127.0.0.1:1/v4", prefetch=2) as manager, manager.session() as session:
        assert session.id
    assert hl_sessions.created == 2


def test_a_session_that_a_span_creates_is_counted_at_once(hl_sessions: FakeSessions) -> None:
    """And told of in the thread of the test, so that it has nothing to wait for."""
    pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace import TracerProvider

    from hl_sessions.integrations.opentelemetry import SessionSpanProcessor

    told: list[tuple[Session, int]] = []
    configure(on_created=lambda session: told.append((session, threading.get_ident())))
    provider = TracerProvider()
    provider.add_span_processor(SessionSpanProcessor(create=True))
    with hl_sessions.manager.session() as session, provider.get_tracer("test").start_as_current_span("span"):
        assert session.peek() == FIRST
        assert told == [(session, threading.get_ident())]
        assert hl_sessions.created == 1
    provider.shutdown()


def test_a_client_by_hand(hl_sessions: FakeSessions) -> None:
    """It creates sessions; what the fake does not know it says."""
    with SessionsClient("http://127.0.0.1:1/v4") as client:
        assert client.create().body == {"id": FIRST}
        with pytest.raises(NotImplementedError, match=r"GET .*/v4/sessions/x"):
            client.get("x")
        with hl_sessions.failing(404), pytest.raises(NotFoundError):
            client.create()


def test_threads(hl_sessions: FakeSessions) -> None:
    """Readers at once get one session; no thread is left, or was ever there."""
    before = {*threading.enumerate()}
    with hl_sessions.manager.session() as session:
        futures = in_threads(lambda: session.id, 20)
        assert {future.result(PATIENCE) for future in futures} == {FIRST}
        log(project="p", output="x")
        assert flush(PATIENCE)
    assert len(hl_sessions.datapoints) == 1
    assert hl_sessions.created == 1
    assert not [each for each in {*threading.enumerate()} - before if "hl-sessions" in each.name]


def test_an_api_that_fails(hl_sessions: FakeSessions) -> None:
    """The application goes on, and what it has logged arrives afterwards."""
    with hl_sessions.failing():
        assert [read() for _ in range(5)] == [None] * 5
        answer("chat-1", "Why?")
        assert hl_sessions.datapoints == []
        assert hl_sessions.created == 0
    assert read() == FIRST  # at once
    assert [each.source for each in hl_sessions.datapoints] == ["answer", "moderation"]
    assert hl_sessions.created == 2


def test_what_was_logged_before(sessions_api: SessionsAPI, records: list[logging.LogRecord]) -> None:
    """It is none of the test's, whether it waits or is open."""
    sessions_api.answer = create_sessions_and_logs
    with SessionManager(sessions_api.base_url, project="p", retries=0) as manager:
        opened = manager.datapoint(source="open")
        opened.__enter__()
        assert manager.flush(PATIENCE)
        sessions_api.answer = lambda _: Answer(503, headers={"Retry-After": "300"})
        manager.log(source="waiting")
        assert not manager.flush(0.01)
        wait_until(lambda: [record for record in records if "datapoints wait" in record.getMessage()])
        with FakeSessions() as fake:
            opened.__exit__(None, None, None)
            manager.log(source="test")
            assert [each.source for each in fake.datapoints] == ["test"]


def test_what_was_logged_before_is_no_overflow(
    hl_sessions: FakeSessions, records: list[logging.LogRecord]
) -> None:
    """No warning says that there was no room for it."""
    hl_sessions.manager.log(project="p", output="before")
    manager = hl_sessions.manager
    with FakeSessions() as fake:
        manager.log(project="p", output="test")
        assert [each.output for each in fake.datapoints] == ["test"]
    assert records == []


def test_what_several_managers_log_is_in_order(hl_sessions: FakeSessions) -> None:
    """In that of the managers, in each run; and so are the IDs of the sessions that are created for it."""
    managers = [SessionManager(project=str(number)) for number in range(6)]
    for manager in managers:
        with manager.session():
            manager.log(output="x")
    assert [each.project for each in hl_sessions.datapoints] == [str(number) for number in range(6)]
    assert [each.session_id for each in hl_sessions.datapoints] == [each.id for each in hl_sessions.sessions]


def test_sessions_that_are_ready_are_not_of_the_test(sessions_api: SessionsAPI) -> None:
    """They are handed out afterwards."""
    with SessionManager(sessions_api.base_url, prefetch=2) as manager:
        for _ in range(2):
            with manager.session() as session:
                assert session.id
        ready = manager.ready_sessions
        assert ready is not None
        wait_until(lambda: ready.ready and not ready._missing() and not ready._under_way)
        kept = [session_id for session_id, _ in ready.ready]
        with FakeSessions() as fake:
            for key in (None, "chat-1"):
                with manager.session(key=key) as session:
                    assert session.id is not None
            assert [each.id for each in fake.sessions] == [FIRST, SECOND]
        with manager.session() as session:
            assert session.id == kept[0]


def test_a_spool_is_left_alone(tmp_path: Path) -> None:
    """It keeps what other processes have left for the API, and gets nothing of the test."""
    path = tmp_path / "spool.db"
    code = (
        "import os, hl_sessions\n"
        f"manager = hl_sessions.SessionManager('http://127.0.0.1:9/v4', spool={str(path)!r})\n"
        "manager.log(project='p', output='left')\n"
        "manager.recorder._queue.save()\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)
    with FakeSessions() as fake, SessionManager(project="p", spool=path) as manager:
        manager.log(output="test")
        assert [each.output for each in fake.datapoints] == ["test"]
        with fake.failing():
            manager.log(output="lost")
    with closing(sqlite3.connect(path)) as spool:
        [(fields,)] = spool.execute("SELECT fields FROM datapoints").fetchall()
    assert json.loads(fields)["output"] == "left"


def test_an_api_that_has_failed_before(sessions_api: SessionsAPI) -> None:
    """A manager that leaves the API alone, as it fails outside of the test, calls that of the test."""
    sessions_api.answer = fail()
    with SessionManager(sessions_api.base_url, retries=0) as manager:
        for _ in range(5):
            with manager.session() as session:
                assert session.id is None
        with FakeSessions(), manager.session() as session:
            assert session.id == FIRST


def test_an_api_that_fails_with_a_status(hl_sessions: FakeSessions) -> None:
    configure(on_error="raise")
    with hl_sessions.failing(429), pytest.raises(RateLimitError):
        read()
    assert read() == FIRST


def test_an_api_that_fails_in_another_way_for_a_while(hl_sessions: FakeSessions) -> None:
    """It goes on to fail as before."""
    configure(on_error="raise")
    with hl_sessions.failing(429):
        with hl_sessions.failing(503), pytest.raises(ServerError):
            read()
        with pytest.raises(RateLimitError):
            read()
    assert read() == FIRST


def test_the_count_can_be_copied(hl_sessions: FakeSessions) -> None:
    """And pickled, as for another process."""
    read()
    for copied in (copy.deepcopy(hl_sessions.created), pickle.loads(pickle.dumps(hl_sessions.created))):
        assert copied == 1
        assert copied.sessions == hl_sessions.sessions


@pytest.fixture
def configured() -> Iterator[SessionManager]:
    """A default manager as an application sets one, before the fixture is asked for."""

    def redact(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "inputs": None}

    told.clear()
    manager = configure(
        "http://127.0.0.1:1/v4", project="support", on_error="raise", redact=redact, on_created=told.append
    )
    yield manager
    manager.close()


told: list[Session] = []


def test_settings_of_the_application_hold(configured: SessionManager, hl_sessions: FakeSessions) -> None:
    assert hl_sessions.manager is not configured
    with hl_sessions.manager.session() as session:
        log(inputs={"secret": 1}, output="x")
    [logged] = hl_sessions.datapoints
    assert (logged.project, logged.inputs, logged.output) == ("support", None, "x")
    assert told == [session]
    with hl_sessions.failing(), pytest.raises(package.APIConnectionError):
        read()


def test_everything_is_put_back(configured: SessionManager, sessions_api: SessionsAPI) -> None:
    """Remaining datapoints of a test are sent nowhere, and managers make their calls again."""
    sessions_api.answer = create_sessions_and_logs
    with SessionManager(sessions_api.base_url, project="p") as manager:
        with FakeSessions() as fake:
            assert configure() is fake.manager is not configured
            with fake.failing(), manager.session():
                manager.log(output="lost")
                current_session_id()
        assert package.defaults.default_manager() is configured
        assert manager.flush(PATIENCE)
        assert sessions_api.requests == []
        with manager.session() as session:
            assert session.id not in {None, FIRST}
            manager.log(output="sent")
        assert manager.flush(PATIENCE)
        assert sessions_api.posts == 2


def test_conversations_of_a_test_are_its_own(tmp_path: Path) -> None:
    """Also those of a manager, and of a store, that outlive it."""
    with (
        SQLiteStore(tmp_path / "conversations.db") as store,
        SessionManager("http://127.0.0.1:1/v4", store=store) as manager,
    ):
        for _ in range(2):
            with FakeSessions() as fake:
                for _ in range(2):
                    with manager.session(key="chat") as session:
                        assert session.id == FIRST
                answer("chat", "Why?")
                answer("chat", "And?")
                assert fake.created == 2


class _Blocked(socket.socket):
    def __init__(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("a test should not use socket.socket")


def test_blocked_sockets(hl_sessions: FakeSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pytest-socket blocks them: not even a pair of them is made."""
    monkeypatch.setattr(socket, "socket", _Blocked)
    read()
    answer("chat-1", "Why?")
    assert len(hl_sessions.datapoints) == 2
    assert hl_sessions.created == 2


def test_doubles_of_http(hl_sessions: FakeSessions, tmp_path: Path) -> None:
    """Cassettes that may not grow, and doubles that know no call, see none."""
    vcr = pytest.importorskip("vcr", reason="is not made for this interpreter")
    with requests_mock.Mocker() as mocker:
        read()
        answer("chat-1", "Why?")
        assert hl_sessions.created == 2
        assert mocker.request_history == []
    with vcr.use_cassette(str(tmp_path / "cassette.yaml"), record_mode="none") as cassette:
        read()
        answer("chat-2", "Why?")
        assert hl_sessions.created == 4
        assert cassette.play_count == 0


def test_without_a_scope(hl_sessions: FakeSessions) -> None:
    assert current_session() is None
    assert current_session_id() is None
    assert hl_sessions.created == 0


def test_all_that_a_test_logs_is_there(hl_sessions: FakeSessions) -> None:
    """However much waits until it looks."""
    with SessionManager(project="p", queue_size=10_000) as manager:
        for number in range(30):
            manager.log(source=str(number), output="x" * 1000)
        assert [datapoint.source for datapoint in hl_sessions.datapoints] == [
            str(number) for number in range(30)
        ]


def test_what_is_told_of_a_session_is_there(hl_sessions: FakeSessions) -> None:
    """When it was created and later on."""
    with hl_sessions.manager.session() as session:
        session.set(name="Refund", metadata={"plan": "pro"})
        assert session.id
        session.set(user="alice")
    [created] = hl_sessions.sessions
    assert (created.name, created.user, created.metadata) == ("Refund", "alice", {"plan": "pro"})


def test_what_the_application_tells_of_its_sessions_is_there() -> None:
    """By the function of the manager before."""
    with configure(session_fields=lambda _: {"user": "alice"}), FakeSessions() as fake:
        read()
        assert [session.user for session in fake.sessions] == ["alice"]
