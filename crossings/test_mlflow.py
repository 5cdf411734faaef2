"""MLflow's traces."""

# /// script
# dependencies = ["mlflow-skinny==3.17.2"]
# ///

from pathlib import Path

import mlflow
import pytest

from crossings.at_once import answered_at_once
from hl_sessions import SessionManager
from tests.pages import run_block


def test_the_session_is_in_the_metadata_of_the_trace(
    manager: SessionManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    mlflow.set_experiment("test")
    handle = run_block("logs-and-traces.md", "MLflow")["handle"]
    ids = answered_at_once(manager, handle)
    handle("c")
    mlflow.flush_trace_async_logging()
    traces = mlflow.search_traces(return_type="list")
    sessions = {
        trace.info.request_metadata["mlflow.traceInputs"]: trace.info.request_metadata.get(
            "mlflow.trace.session"
        )
        for trace in traces
    }
    assert sessions == {
        '{"question": "a"}': ids["a"],
        '{"question": "b"}': ids["b"],
        '{"question": "c"}': None,
    }
