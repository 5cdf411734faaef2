"""Opik's traces."""

# /// script
# dependencies = ["opik==2.2.122"]
# ///

import gzip
import json
from collections.abc import Iterator

import opik
import pytest

from crossings.at_once import answered_at_once
from hl_sessions import SessionManager
from tests.pages import run_block
from tests.sessions_api import Answer, SessionsAPI


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SessionsAPI]:
    server = SessionsAPI()
    server.answer = lambda _: Answer(body={})
    monkeypatch.setenv("OPIK_URL_OVERRIDE", server.base_url)
    yield server
    server.close()


def test_the_session_is_the_thread_of_the_trace(manager: SessionManager, server: SessionsAPI) -> None:
    answer = run_block("logs-and-traces.md", "Opik")["answer"]
    ids = answered_at_once(manager, answer)
    answer("c")
    opik.flush_tracker()
    batches = [
        json.loads(gzip.decompress(request.body))
        for request in server.requests
        if request.target.endswith("/traces/batch")
    ]
    # What was sent when it began is completed when it ends.
    threads = {
        trace["input"]["question"]: trace.get("thread_id")
        for batch in batches
        for trace in batch["traces"]
        if "output" in trace
    }
    assert threads == {**ids, "c": None}
