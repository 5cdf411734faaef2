"""Errors and transactions that go to Sentry have the session, whenever Sentry captures them."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sentry_sdk")
pytest.importorskip("fastapi")

import sentry_sdk
from redis import Redis
from rq import Queue, SimpleWorker
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.rq import RqIntegration
from sentry_sdk.transport import Transport

from hl_sessions import SessionManager
from hl_sessions.integrations.rq import SessionJob
from hl_sessions.integrations.sentry import connect, disconnect
from tests.integrations.rq_jobs import fail
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE

WEB = ["fastapi", "flask", "django"]
ROOT = Path(__file__).parent.parent.parent


class Sent:
    """The events that an application has sent to Sentry, and the session IDs that it has read."""

    def __init__(self, read: dict[str, str], sent: list[dict[str, Any]]) -> None:
        self.read = read
        self.events = [each for each in sent if "event_id" in each]
        self.spans = {span["name"]: span for each in sent for span in each.get("items", ())}

    def of(self, case: str) -> dict[str, Any]:
        """The events of a case: by their type, or by their message."""
        events = [event for event in self.events if event.get("tags", {}).get("case") == case]
        by_kind = {event.get("message") or event.get("type", "error"): event for event in events}
        assert len(by_kind) == len(events)
        return by_kind

    def conversation(self, name: str) -> str | None:
        attribute = self.spans[name]["attributes"].get("gen_ai.conversation.id")
        return attribute and str(attribute["value"])


@pytest.fixture(scope="module")
def sent() -> Sent:
    api = SessionsAPI()
    application = Path(__file__).with_name("sentry_application.py")
    done = subprocess.run(
        [sys.executable, application, api.base_url],
        env={**os.environ, "NO_PROXY": "*", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    api.close()
    return Sent(**json.loads(done.stdout))


def assert_has(event: dict[str, Any], session_id: str | None) -> None:
    assert event["tags"].get("session.id") == session_id
    assert event["contexts"].get("session") == (session_id and {"id": session_id})


@pytest.mark.slow
@pytest.mark.parametrize("framework", [*WEB, "celery"])
def test_errors_and_transactions_have_the_session(framework: str, sent: Sent) -> None:
    """Most of them are captured when the scope has been left; without tracing, too."""
    kinds = {"answering": {"transaction"}, "failing": {"transaction", "error"}, "untraced": {"error"}}
    for what, expected in kinds.items():
        case = f"{framework} {what}"
        events = sent.of(case)
        assert events.keys() == expected
        for event in events.values():
            assert_has(event, sent.read[case])


@pytest.mark.slow
@pytest.mark.parametrize("framework", [*WEB, "celery"])
def test_what_is_captured_in_an_inner_scope_has_its_session(framework: str, sent: Sent) -> None:
    """The transaction has that of the request, or of the job."""
    case = f"{framework} nested"
    events = sent.of(case)
    assert_has(events.pop("inner"), sent.read["inner"])
    assert_has(events.pop("transaction"), sent.read[case])
    assert not events


@pytest.mark.slow
@pytest.mark.parametrize("framework", WEB)
def test_a_request_in_which_nobody_reads_has_nothing(framework: str, sent: Sent) -> None:
    """No event creates a session. (Sending a task does.)"""
    (transaction,) = sent.of(f"{framework} unread").values()
    assert_has(transaction, None)


@pytest.mark.slow
def test_nothing_stays_behind(sent: Sent) -> None:
    """Events outside of requests and jobs have no session."""
    (event,) = [event for event in sent.events if event.get("message") == "afterwards"]
    assert "tags" not in event
    assert "session" not in event["contexts"]


@pytest.mark.slow
def test_calls_of_models_have_their_conversation(sent: Sent) -> None:
    """A hash of the key, if there is one, also of one that is known only once there is a route."""
    chat, inner = (hashlib.sha256(key).hexdigest() for key in (b"chat-42", b"inner"))
    for what in ("answering", "failing", "unread", "nested"):
        assert sent.conversation(f"fastapi {what}") == chat
        assert sent.conversation(f"flask {what}") is None
    for framework in [*WEB, "celery"]:
        assert sent.conversation(f"{framework} inner") == inner
        assert sent.conversation(f"{framework} after") == (chat if framework == "fastapi" else None)


class Collecting(Transport):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event() or envelope.get_transaction_event()
        if event is not None:  # else the envelope has spans
            self.events.append(event)


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """The events of this process for Sentry, without any integration."""
    transport = Collecting()
    sentry_sdk.init("http://public@127.0.0.1:1/1", default_integrations=False, transport=transport)
    yield transport.events
    disconnect()
    sentry_sdk.get_global_scope().set_client(None)


def test_a_script_has_the_session_inside_its_scopes_only(
    manager: SessionManager, sessions_api: SessionsAPI, events: list[Any]
) -> None:
    """It has one isolation scope for all it does, in which nothing may stay."""
    connect()
    with manager.session(key="chat") as session:
        sentry_sdk.capture_message("unread")
        assert sessions_api.posts == 0
        session_id = session.id
        sentry_sdk.capture_message("read")
    sentry_sdk.capture_message("after")
    assert [event.get("tags", {}).get("session.id") for event in events] == [None, session_id, None]
    assert [event["contexts"].get("session") for event in events] == [None, {"id": session_id}, None]


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("lifecycle", ["static", "stream"])
@pytest.mark.parametrize("rate", [1.0, None])
def test_a_job_of_rq_has_the_session_that_it_runs_in(
    rate: float | None, lifecycle: Any, redis_server: str, manager: SessionManager, events: list[Any]
) -> None:
    """Though Sentry captures its error when the scope has been left; with tracing, streamed, or without."""
    client = sentry_sdk.get_client()
    sentry_sdk.init(
        client.dsn,
        default_integrations=False,
        integrations=[RqIntegration()],
        traces_sample_rate=rate,
        transport=client.transport,
        _experiments={"trace_lifecycle": lifecycle},
    )
    connect()
    with Redis.from_url(f"{redis_server}/6") as connection:
        queue = Queue("default", connection=connection, job_class=SessionJob)
        with manager.session() as session:
            session_id = session.id
            queue.enqueue(fail, 1)
        SimpleWorker([queue], connection=connection, job_class=SessionJob).work(burst=True)
    captured = len(events)
    has_transaction = rate is not None and lifecycle == "static"
    assert [event.get("type", "error") for event in events] == ["error", *["transaction"] * has_transaction]
    for event in events:
        assert_has(event, session_id)
    sentry_sdk.capture_message("after")
    assert "session.id" not in events[captured].get("tags", {})


@contextmanager
def unit_of_sentry() -> Iterator[Any]:
    """A request or job, as Sentry's integrations begin it."""
    with sentry_sdk.isolation_scope() as scope:
        scope._name = "job"
        yield scope


@pytest.mark.parametrize("keys", [[None], [None, None], ["a", "b", "b"], ["a", "a"]])
def test_a_job_with_several_sessions_has_none_of_them(
    manager: SessionManager, events: list[Any], keys: list[str | None]
) -> None:
    """Its transaction is about all of them; an error that ends it comes from the last one."""
    connect()
    seen: set[str | None] = set()
    with unit_of_sentry():
        for key in keys:
            with manager.session(key=key) as session:
                session_id = session.id
            seen.add(session_id)
        sentry_sdk.capture_event({"type": "transaction", "transaction": "job"})
        sentry_sdk.capture_exception(ValueError())
    transaction, error = events
    assert transaction.get("tags", {}).get("session.id") == (session_id if len(seen) == 1 else None)
    assert error["tags"]["session.id"] == session_id


def test_the_key_is_there_only_if_asked_for(manager: SessionManager, events: list[Any]) -> None:
    """It may be personal; a scope without a key has none to show."""
    connect()
    connect(key=True)
    with manager.session(key="chat") as session:
        session_id = session.id
        sentry_sdk.capture_message("with a key")
    with manager.session() as session:
        other_id = session.id
        sentry_sdk.capture_message("without")
    connect()
    with manager.session(key="chat") as session:
        assert session.id == session_id
        sentry_sdk.capture_message("not shown")
    assert [event["contexts"]["session"] for event in events] == [
        {"id": session_id, "key": "chat"},
        {"id": other_id},
        {"id": session_id},
    ]


def test_a_tag_and_a_context_of_your_own_stay(manager: SessionManager, events: list[Any]) -> None:
    """And after disconnecting there is nothing else."""
    connect()
    with manager.session() as session, sentry_sdk.new_scope() as scope:
        assert session.id is not None
        scope.set_tag("session.id", "mine")
        scope.set_context("session", {"mine": True})
        sentry_sdk.capture_message("mine")
    with unit_of_sentry() as scope:
        scope.set_context("session", {"mine": True})
        with manager.session() as session:
            assert session.id is not None
        sentry_sdk.capture_message("mine, and the tag")
    disconnect()
    with manager.session() as session:
        assert session.id is not None
        sentry_sdk.capture_message("disconnected")
    mine, tagged, disconnected = events
    assert (mine["tags"], mine["contexts"]["session"]) == ({"session.id": "mine"}, {"mine": True})
    assert list(tagged["tags"]) == ["session.id"]
    assert tagged["contexts"]["session"] == {"mine": True}
    assert "tags" not in disconnected
    assert "session" not in disconnected["contexts"]
