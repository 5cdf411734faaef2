"""The descriptions of sessions: at their creation, later on, and at their end."""

import asyncio
import enum
import itertools
import json
import logging
import threading
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from hl_sessions import Session, SessionManager, current_session_id
from hl_sessions.stores import ConversationStore, MemoryStore, SQLiteStore
from tests.datapoints.conftest import Stored
from tests.sessions_api import Answer, Request, SessionsAPI, create_sessions_and_logs
from tests.waiting import PATIENCE, in_threads, wait_until

user: ContextVar[str] = ContextVar("user")

FUNNEL: dict[str, Any] = {"name": "Refund", "user": "alice", "metadata": {"plan": "pro", "turns": 3}}


@pytest.fixture(params=["memory", "SQLite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ConversationStore:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "conversations.sqlite3")


def take_everything(request: Request) -> Answer:
    """As an API that knows sessions, datapoints, and what is told of sessions."""
    return Answer(204) if request.method == "PATCH" else create_sessions_and_logs(request)


def told(api: SessionsAPI) -> list[tuple[str, Any]]:
    """Return the calls about sessions, with what was told by each."""
    return [
        (request.method, json.loads(request.body) if request.body else None)
        for request in api.requests
        if "/sessions" in request.target
    ]


def record_of(stored: Stored, session_id: str | None) -> dict[str, Any]:
    """Return what the server knows of a session, without what it counts itself."""
    session: dict[str, Any] = stored.get(f"/sessions/{session_id}")
    return {name: session[name] for name in (*FUNNEL, "ended_at", "previous_id") if name in session}


# At the creation


@pytest.mark.parametrize("how", ["read", "read in a task", "logged"])
def test_the_creation_tells_what_the_application_knows(how: str, sessions_api: SessionsAPI) -> None:
    """In the context of the request, no matter which thread creates the session; in one call."""
    sessions_api.answer = take_everything

    def fields(session: Session) -> dict[str, Any]:
        assert current_session_id() is None
        return {"user": user.get(), "metadata": {"key": session.key}}

    def handle() -> None:
        user.set("alice")
        with manager.session(key="chat") as session:
            if how == "read":
                assert session.id
            elif how == "read in a task":
                assert asyncio.run(session.aid())
            else:
                manager.log(project="any")

    with SessionManager(sessions_api.base_url, session_fields=fields) as manager:
        in_threads(handle)[0].result(PATIENCE)
        assert manager.flush(PATIENCE)
    assert told(sessions_api) == [("POST", {"user": "alice", "metadata": {"key": "chat"}})]


def test_who_tells_nothing_sends_an_empty_body(sessions_api: SessionsAPI) -> None:
    """As the vendor's clients do."""
    with SessionManager(sessions_api.base_url, session_fields=lambda _: None) as manager:
        with manager.session() as session:
            assert session.id
        with manager.session(key="chat") as session:
            assert session.id
    assert [request.body for request in sessions_api.requests] == [b"", b""]
    assert {request.headers["Content-Type"] for request in sessions_api.requests} == {None}


def test_what_is_set_goes_before_what_the_application_knows(sessions_api: SessionsAPI) -> None:
    """Metadata is made of both."""
    known = {"user": "nobody", "metadata": {"plan": "free", "region": "eu"}}
    manager = SessionManager(sessions_api.base_url, session_fields=lambda _: known)
    with manager, manager.session() as session:
        session.set(user="alice", metadata={"plan": "pro"})
        assert session.id
    assert told(sessions_api) == [("POST", {"user": "alice", "metadata": {"plan": "pro", "region": "eu"}})]


def raise_a_lookup_error(_: Session) -> Any:
    raise LookupError("no user")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (raise_a_lookup_error, "LookupError"),
        (lambda _: {"tenant": "acme"}, "TypeError"),
        (lambda _: {"user": "x" * 513}, "ValueError"),
        (lambda _: "alice", "TypeError"),
    ],
    ids=["raises", "unknown", "too long", "no dict"],
)
def test_what_the_application_cannot_say_is_left_out(
    fields: Callable[[Session], Any], error: str, sessions_api: SessionsAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """The session is created without, and one record says why."""
    with SessionManager(sessions_api.base_url, session_fields=fields) as manager:
        for _ in range(2):
            with manager.session() as session:
                assert session.id
    assert told(sessions_api) == [("POST", None)] * 2
    [record] = caplog.records
    assert record.getMessage() == f"session_fields raised {error}"
    assert record.exc_info


@pytest.mark.parametrize("status", [400, 422])
def test_an_api_that_refuses_fields_creates_the_session(
    status: int, sessions_api: SessionsAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """Without them, and one warning says so."""

    def refuse(request: Request) -> Answer:
        return Answer(status, {"detail": "no body"}) if request.body else create_sessions_and_logs(request)

    sessions_api.answer = refuse
    with SessionManager(sessions_api.base_url, session_fields=lambda _: FUNNEL) as manager:
        for _ in range(2):
            with manager.session() as session:
                assert session.id
    assert told(sessions_api) == [("POST", FUNNEL), ("POST", None)] * 2
    [record] = caplog.records
    assert record.getMessage().startswith(
        "the sessions API refuses the description of a session (name, user, meta"
    )


def test_a_session_that_was_ready_is_told_of_later(
    make_logging_manager: Callable[..., SessionManager], stored: Stored
) -> None:
    """The read waits for nothing, of a conversation and without one."""
    manager = make_logging_manager(prefetch=2, session_fields=lambda _: FUNNEL)
    with manager.session() as session:
        assert session.id
    ready_sessions = manager.ready_sessions
    assert ready_sessions is not None
    for key in (None, "chat"):
        wait_until(lambda: ready_sessions.ready)
        with manager.session(key=key) as session:
            session_id = session.id
        assert manager.flush(PATIENCE)
        assert record_of(stored, session_id) == FUNNEL


# Later on


def test_what_is_set_is_sent_in_order(logging_manager: SessionManager, stored: Stored) -> None:
    """Metadata grows, and the rest is what was said last."""
    with logging_manager.session() as session:
        session.set(name="first", metadata={"plan": "free"})
        assert session.id
        session.set(name="second", metadata={"turns": 1})
        session.set(user="alice", metadata={"turns": 3, "plan": "pro"})
    session.set(name="Refund")
    assert logging_manager.flush(PATIENCE)
    assert record_of(stored, session.id) == FUNNEL


def test_setting_alone_creates_nothing(sessions_api: SessionsAPI) -> None:
    """Neither does it in a conversation without a session."""
    with SessionManager(sessions_api.base_url) as manager:
        for key in (None, "chat"):
            with manager.session(key=key) as session:
                session.set(name="nobody asked")
            assert manager.flush(PATIENCE)
    assert told(sessions_api) == []


def test_what_is_set_before_or_after_a_log_goes_along(sessions_api: SessionsAPI) -> None:
    """As long as the session is not created, one call tells it all."""
    sessions_api.answer = take_everything
    with SessionManager(sessions_api.base_url, project="any") as manager, manager.session() as session:
        session.set(name="Refund", metadata={"plan": "pro"})
        manager.log(source="question")
        session.set(user="alice", metadata={"turns": 3})
        assert manager.flush(PATIENCE)
    assert told(sessions_api) == [("POST", FUNNEL)]


def test_a_set_that_overtakes_the_creation_waits_for_it(sessions_api: SessionsAPI) -> None:
    """It is sent when there is an ID."""
    is_set: list[bool] = []

    def answer(request: Request) -> Answer:
        if request.method == "POST":
            session.set(name="Refund")
            is_set.append(True)
        return take_everything(request)

    sessions_api.answer = answer
    with SessionManager(sessions_api.base_url) as manager, manager.session() as session:
        session_id = session.id
        assert manager.flush(PATIENCE)
    assert is_set == [True]
    assert told(sessions_api) == [("POST", None), ("PATCH", {"name": "Refund"})]
    assert sessions_api.last.target == f"/v4/sessions/{session_id}"


def test_a_conversation_that_nobody_reads_is_told_of(
    store: ConversationStore, make_logging_manager: Callable[..., SessionManager], stored: Stored
) -> None:
    """If it has a session from before."""
    manager = make_logging_manager(store=store)
    with manager.session(key="chat") as session:
        session_id = session.id
    with manager.session(key="chat") as session:
        session.set(**FUNNEL)
    assert manager.flush(PATIENCE)
    assert record_of(stored, session_id) == FUNNEL
    store.close()


def test_what_many_threads_set_is_all_there(logging_manager: SessionManager, stored: Stored) -> None:
    """Whichever of them comes last, it has the metadata of all."""
    with logging_manager.session() as session:
        assert session.id
        numbers = itertools.count()
        setting = in_threads(lambda: session.set(metadata={f"n{next(numbers)}": True}), 20)
        for each in setting:
            each.result(PATIENCE)
    assert logging_manager.flush(PATIENCE)
    assert record_of(stored, session.id) == {"metadata": {f"n{number}": True for number in range(20)}}


def test_what_is_set_during_an_outage_is_sent_afterwards(sessions_api: SessionsAPI) -> None:
    """The last word counts, and is one call."""
    with SessionManager(sessions_api.base_url, retries=0) as manager, manager.session() as session:
        assert session.id
        sessions_api.answer = lambda _: Answer(503)
        session.set(name="first")
        wait_until(lambda: sessions_api.last.method == "PATCH")
        session.set(name="second", user="alice")
        sessions_api.answer = take_everything
        assert manager.flush(PATIENCE)
    assert told(sessions_api)[-1] == ("PATCH", {"name": "second", "user": "alice"})


class Plan(enum.Enum):
    PRO = "pro"


@dataclass
class Customer:
    plan: Plan
    id: uuid.UUID


def test_values_become_what_a_person_expects(logging_manager: SessionManager, stored: Stored) -> None:
    """As those of datapoints do."""
    number = uuid.uuid4()
    customer: Any = Customer(Plan.PRO, number)
    with logging_manager.session() as session:
        session.set(name=Plan.PRO, user=7, metadata=customer)
        assert session.id
    assert record_of(stored, session.id) == {
        "name": "pro",
        "user": "7",
        "metadata": {"plan": "pro", "id": str(number)},
    }


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"name": {"not": "a text"}},
            TypeError,
            "name must be a str, an int, a uuid.UUID or an enum.Enum, not di",
        ),
        ({"user": True}, TypeError, "user must be a str, an int, a uuid.UUID or an enum.Enum, not bool"),
        (
            {"user": "x" * 513},
            ValueError,
            "user='xxxxxxxxxxxxxxxxxxxx...' has 513 characters, and may have 512: put",
        ),
        (
            {"metadata": ["pro"]},
            TypeError,
            "metadata must be an object (dict), not list: give it names and values",
        ),
        ({"metadata": {"a": "x" * 17_000}}, ValueError, "metadata has 17,008 bytes as JSON"),
    ],
    ids=["name", "bool", "long", "list", "metadata"],
)
def test_a_wrong_value_is_an_error(
    given: Any, error: type[Exception], message: str, sessions_api: SessionsAPI
) -> None:
    """It names the parameter, the value and the way out; nothing of the call is kept."""
    with SessionManager(sessions_api.base_url) as manager, manager.session() as session:
        with pytest.raises(error) as raised:
            session.set(**{"name": "kept out", **given})
        assert str(raised.value).startswith(message)
        assert session.id
    assert told(sessions_api) == [("POST", None)]


@pytest.mark.parametrize("name", ["name", "user", "metadata"])
def test_fields_are_no_attributes(sessions_api: SessionsAPI, name: str) -> None:
    """They were assigned without effect, like those of a datapoint."""
    with SessionManager(sessions_api.base_url) as manager, manager.session() as session:
        with pytest.raises(AttributeError, match=rf"^{name} cannot be assigned; call set\({name}=\.\.\.\)$"):
            setattr(session, name, "x")
        assert not hasattr(session, name)


def test_the_longest_values_fit(logging_manager: SessionManager, stored: Stored) -> None:
    """The limits are those of the server."""
    with logging_manager.session() as session:
        session.set(name="n" * 512, user="ü" * 512, metadata={"a": "ü" * 8188})
        assert session.id
        assert len(record_of(stored, session.id)["metadata"]["a"]) == 8188
        with pytest.raises(ValueError, match="16,390 bytes as JSON, with what was set before"):
            session.set(metadata={"b": 1})


def test_redaction_sees_what_is_told(sessions_api: SessionsAPI, caplog: pytest.LogCaptureFixture) -> None:
    """As it sees a datapoint; if it raises, nothing is told."""

    def redact(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "metadata": {"email": len(fields["metadata"]["email"]) * "*"}}

    with SessionManager(sessions_api.base_url, redact=redact) as manager, manager.session() as session:
        session.set(user="alice", metadata={"email": "a@b.example"})
        session.set(name="no metadata, so it raises")
        assert session.id
    assert told(sessions_api) == [("POST", {"user": "alice", "metadata": {"email": "***********"}})]
    [record] = caplog.records
    assert record.getMessage() == "the description of a session is not logged, as redact= raised: KeyError"


@pytest.mark.parametrize("status", [404, 405, 422])
def test_an_api_that_does_not_take_it_loses_nothing_else(
    status: int, sessions_api: SessionsAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not sent again, and one warning says so."""
    sessions_api.answer = lambda request: (
        Answer(status, {"detail": "no"}) if request.method == "PATCH" else create_sessions_and_logs(request)
    )
    with SessionManager(sessions_api.base_url, project="any") as manager, manager.session() as session:
        assert session.id
        for name in ("first", "second"):
            session.set(name=name)
            manager.log(source=name)
            assert manager.flush(PATIENCE)
    assert [request.target for request in sessions_api.requests].count("/v4/logs") == 2
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "refuses the description of a session (name), which is not sent again" in record.getMessage()


# The end


@pytest.mark.parametrize("ends_by", ["the handle that has read", "another handle", "its key"])
def test_an_ended_conversation_has_an_end_and_a_successor(
    ends_by: str,
    store: ConversationStore,
    make_logging_manager: Callable[..., SessionManager],
    stored: Stored,
) -> None:
    """The server knows when it ended, and which session came before the next one."""
    manager = make_logging_manager(store=store)
    with manager.session(key="chat") as first:
        assert first.id
        if ends_by == "the handle that has read":
            first.end()
    if ends_by == "another handle":
        with manager.session(key="chat") as other:
            other.end()
    elif ends_by == "its key":
        manager.end("chat")
    with manager.session(key="chat") as second:
        assert second.id
    assert manager.flush(PATIENCE)
    assert record_of(stored, first.id).keys() == {"ended_at"}
    assert record_of(stored, second.id) == {"previous_id": first.id}
    assert second.previous_id == first.id
    store.close()


def test_what_is_set_right_before_the_end_is_told(
    store: ConversationStore, make_logging_manager: Callable[..., SessionManager], stored: Stored
) -> None:
    """Of a conversation that this scope has not read, too."""
    manager = make_logging_manager(store=store)
    with manager.session(key="chat") as session:
        session_id = session.id
    with manager.session(key="chat") as session:
        session.set(**FUNNEL)
        session.end()
    assert manager.flush(PATIENCE)
    known = record_of(stored, session_id)
    assert known.pop("ended_at")
    assert known == FUNNEL
    store.close()


def test_a_conversation_that_is_ended_before_it_has_an_id_has_an_end(
    make_logging_manager: Callable[..., SessionManager], stored: Stored
) -> None:
    """All that was logged and told names the same session."""
    manager = make_logging_manager(session_fields=lambda _: {"user": "alice"})
    with manager.session(key="chat") as session:
        manager.log(source="question")
        session.set(name="Refund")
        session.end()
    assert manager.flush(PATIENCE)
    known = record_of(stored, stored.only()["session_id"])
    assert known.keys() == {"name", "user", "ended_at"}
    assert (known["name"], known["user"]) == ("Refund", "alice")


def test_flush_waits_for_what_is_told_as_a_datapoint_is_sent(sessions_api: SessionsAPI) -> None:
    """The fields of a creation, of a conversation that was ended before: it was never created with them."""
    arrived, go_on = threading.Event(), threading.Event()

    def answer(request: Request) -> Answer:
        if request.method != "PATCH":
            return create_sessions_and_logs(request)
        if b"alice" in request.body:
            arrived.set()
            assert go_on.wait(PATIENCE)
        return Answer(200)

    sessions_api.answer = answer
    with SessionManager(
        sessions_api.base_url, project="support", session_fields=lambda _: {"user": "alice"}
    ) as manager:
        with manager.session(key="chat") as session:
            manager.log(source="question")
            session.end()
        (flushing,) = in_threads(lambda: manager.flush(PATIENCE))
        assert arrived.wait(PATIENCE)
        assert not flushing.done()
        go_on.set()
        assert flushing.result(PATIENCE)


def test_flush_does_not_wait_for_what_is_logged_later(sessions_api: SessionsAPI) -> None:
    """However much it leads to: here each datapoint that arrives is followed by another."""
    numbers = itertools.count()

    def chat() -> None:
        with manager.session(key=next(numbers)) as session:
            manager.log(source="question")
            session.end()

    def answer(request: Request) -> Answer:
        if request.target == "/v4/logs":
            chat()
        return take_everything(request)

    fields = {"user": "alice"}
    manager = SessionManager(sessions_api.base_url, project="support", session_fields=lambda _: fields)
    with manager:
        sessions_api.answer = answer
        chat()
        assert manager.flush(PATIENCE)
        sessions_api.answer = take_everything


def test_to_end_what_nobody_has_read_tells_nothing(sessions_api: SessionsAPI) -> None:
    """There is no session that could end."""
    with SessionManager(sessions_api.base_url) as manager:
        with manager.session(key="chat") as session:
            session.end()
        manager.end("another")
        assert manager.flush(PATIENCE)
    assert sessions_api.requests == []


def test_to_end_what_was_deleted_is_a_warning(
    logging_manager: SessionManager, server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And no reader gets an error."""
    with logging_manager.session(key="chat") as session:
        assert requests.delete(f"{server_url}/sessions/{session.id}", timeout=60).status_code == 204
        session.end()
    assert logging_manager.flush(PATIENCE)
    [record] = [record for record in caplog.records if record.name == "hl_sessions"]
    assert "(ended_at), which is not sent again: it has no such session" in record.getMessage()


def test_an_idle_conversation_has_a_successor(
    make_logging_manager: Callable[..., SessionManager], stored: Stored
) -> None:
    """Its own end nobody has seen."""
    manager = make_logging_manager(idle_timeout=1e-9)
    ids = []
    for _ in range(2):
        with manager.session(key="chat") as session:
            ids.append(session.id)
    assert record_of(stored, ids[1]) == {"previous_id": ids[0]}
    assert record_of(stored, ids[0]) == {}
