"""Weave's calls."""

# /// script
# dependencies = ["weave==0.54.0"]
# ///

import json
from collections.abc import Iterator

import pytest
import weave

from crossings.at_once import answered_at_once
from hl_sessions import SessionManager
from tests.pages import run_block
from tests.sessions_api import Answer, Request, SessionsAPI

SERVER = {"min_required_weave_python_version": "0.0.1"}
PROJECT = {"data": {"project": {"name": "test"}, "viewer": {"username": "test"}}}
STORED = {"digest": "x", "id": "1", "trace_id": "1"}


def answer_weave(request: Request) -> Answer:
    path = request.target.rpartition("/")[2]
    return Answer(body={"server_info": SERVER, "graphql": PROJECT}.get(path, STORED))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SessionsAPI]:
    server = SessionsAPI()
    server.answer = answer_weave
    monkeypatch.setenv("WANDB_BASE_URL", server.base_url)
    monkeypatch.setenv("WF_TRACE_SERVER_URL", server.base_url)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    yield server
    server.close()


def test_the_session_is_the_thread_of_the_calls(manager: SessionManager, server: SessionsAPI) -> None:
    handle = run_block("logs-and-traces.md", "Weave")["handle"]
    weave.init("test/test", settings={"print_call_link": False})
    ids = answered_at_once(manager, handle)
    handle("c")
    weave.finish()
    batches = [
        json.loads(request.body) for request in server.requests if request.target.endswith("/calls/complete")
    ]
    threads = {call["inputs"]["question"]: call["thread_id"] for batch in batches for call in batch["batch"]}
    assert threads == {**ids, "c": None}
