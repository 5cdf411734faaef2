"""What a job takes along of a session, and what comes of it where the job is done."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from hl_sessions import SessionManager
from hl_sessions.integrations.jobs import carried, carried_session
from hl_sessions.stores import MemoryStore
from tests.sessions_api import SessionsAPI, create_sessions_and_logs, fail

SESSION_ID = "sesh_0123-Az_"
REFERENCE_ID = "0123456789abcdef"


def test_a_job_has_the_id_of_its_sender(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """Taking it along creates the session; the handle of the job needs no call."""
    with manager.session() as session:
        taken = json.loads(json.dumps(carried(session)))
    handle = carried_session(manager, taken)
    assert handle is not None
    assert handle.peek() == handle.id == session.peek()
    assert handle.log_params() == {"session_id": session.peek()}
    assert sessions_api.posts == 1


def test_a_long_reference_id_of_a_datapoint_costs_no_job_its_session(
    manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    sessions_api.answer = create_sessions_and_logs
    with manager.session() as session, manager.datapoint(project="p", reference_id="x" * 500):
        handle = carried_session(manager, json.loads(json.dumps(carried(session))))
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
        taken = json.loads(json.dumps(carried(session)))
        sessions_api.answer = works
        handle = carried_session(worker, taken)
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
        taken = json.loads(json.dumps(carried(session)))
        handle = carried_session(manager, taken)
        assert handle is not None
        assert handle.peek() == session.id
        assert handle.log_params() == session.log_params() == {"session_reference_id": session.reference_id}
    handle = carried_session(manager, {"session_reference_id": REFERENCE_ID})
    assert handle is not None
    assert carried(handle) == {"session_reference_id": REFERENCE_ID}
    assert sessions_api.posts == 1


@pytest.mark.parametrize("prefetch", [0, 4])
def test_a_handle_belongs_to_the_manager_it_was_made_for(
    make_manager: Callable[..., SessionManager], prefetch: int
) -> None:
    """Whatever kind of handle that makes."""
    worker = make_manager(prefetch=prefetch)
    handle = carried_session(worker, {"session_id": SESSION_ID})
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
        {"session_id": SESSION_ID, "session_reference_id": ""},
        {"session_id": "../etc", "session_reference_id": "a"},
        {"session_id": SESSION_ID, "other": "a"},
        {"other": SESSION_ID},
    ],
)
def test_what_is_malformed_is_no_session(manager: SessionManager, taken: Any) -> None:
    """Nor is it an error: the job is done without one."""
    assert carried_session(manager, taken) is None
