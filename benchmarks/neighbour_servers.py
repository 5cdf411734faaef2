"""Other servers that keep what models were asked and answered, and ours of version 0.1; each as published.

Each runs from an environment of its own, which `make bench` makes; those that have none are left out.
"""

from __future__ import annotations

import json
import secrets
import time
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from benchmarks.row import OURS
from benchmarks.running_servers import ServerProgram

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NEIGHBOUR_SERVERS", "OLD", "QUESTION", "own_server"]

OLD = "hl-sessions 0.1"
QUESTION = "Why is the sky blue, and why is the grass green? " * 20
ANSWER = "Because light of short waves is scattered more. " * 20


def _logs(sessions: Sequence[str]) -> bytes:
    logs = [
        {
            "project": "benchmark",
            "session_reference_id": session,
            "inputs": {"question": QUESTION},
            "output": ANSWER,
            "config": {"type": "model", "model": "gpt-4", "temperature": 0.5},
            "duration": 1.25,
        }
        for session in sessions
    ]
    return json.dumps(logs if len(logs) > 1 else logs[0]).encode()


def _spans(sessions: Sequence[str]) -> bytes:
    """The same as spans of OpenTelemetry, in the protobuf of its exporters."""
    messages = "opentelemetry.proto.collector.trace.v1.trace_service_pb2"
    request = resolve_name(f"{messages}:ExportTraceServiceRequest")()
    spans = request.resource_spans.add().scope_spans.add().spans
    for session in sessions:
        now = time.time_ns()
        span = spans.add(
            trace_id=secrets.token_bytes(16),
            span_id=secrets.token_bytes(8),
            name="answer",
            start_time_unix_nano=now,
            end_time_unix_nano=now + 1_250_000_000,
        )
        for key, value in (
            ("openinference.span.kind", "LLM"),
            ("session.id", session),
            ("llm.model_name", "gpt-4"),
            ("input.value", QUESTION),
            ("output.value", ANSWER),
        ):
            span.attributes.add(key=key).value.string_value = value
    return bytes(request.SerializeToString())


def own_server(
    database: str = "logs.sqlite3", *, workers: int = 1, name: str = OURS, environment: str = ""
) -> ServerProgram:
    """Return our server, on a database of SQLite in its folder, or on another one."""
    return ServerProgram(
        name,
        environment,
        f"hl-sessions serve --port {{port}} --db {database} --workers {workers}",
        health="/healthz",
        path="/v4/logs",
        headers="Content-Type: application/json\r\n",
        body=_logs,
        database="logs.sqlite3",
        table="logs",
        page="/",
    )


_OF_PROTOBUF = "Content-Type: application/x-protobuf\r\n"
NEIGHBOUR_SERVERS = (
    own_server(name=OLD, environment=".venv-0.1"),
    ServerProgram(
        "arize-phoenix",
        ".venv-arize-phoenix",
        "phoenix serve",
        health="/healthz",
        path="/v1/traces",
        headers=_OF_PROTOBUF,
        body=_spans,
        database="phoenix.db",
        table="spans",
        page="/projects/UHJvamVjdDox/sessions",
        variables={
            "PHOENIX_PORT": "{port}",
            "PHOENIX_GRPC_PORT": "0",
            "PHOENIX_WORKING_DIR": ".",
            "PHOENIX_TELEMETRY_ENABLED": "false",
        },
    ),
    ServerProgram(
        "mlflow",
        ".venv-mlflow",
        "mlflow server --port {port} --backend-store-uri sqlite:///mlflow.db",
        health="/health",
        path="/v1/traces",
        headers=f"{_OF_PROTOBUF}x-mlflow-experiment-id: 0\r\n",
        body=_spans,
        database="mlflow.db",
        table="spans",
        page="/#/experiments/0/traces?groupBy=session",
    ),
)
