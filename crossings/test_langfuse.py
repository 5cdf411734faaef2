"""Langfuse's spans."""

# /// script
# dependencies = ["langfuse==5.0.4"]
# ///

import json

from langfuse import Langfuse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from crossings.at_once import answered_at_once
from hl_sessions import SessionManager
from tests.pages import run_block


def test_the_session_is_on_the_spans(manager: SessionManager) -> None:
    exporter = InMemorySpanExporter()
    client = Langfuse(
        public_key="x",
        secret_key="x",
        base_url="http://127.0.0.1:9",
        span_exporter=exporter,
        tracer_provider=TracerProvider(),
    )
    handle = run_block("logs-and-traces.md", "Langfuse")["handle"]
    ids = answered_at_once(manager, handle)
    handle("c")
    client.flush()
    spans = exporter.get_finished_spans()
    client.shutdown()
    sessions = {}
    for span in spans:
        assert span.attributes is not None
        (question,) = json.loads(str(span.attributes["langfuse.observation.input"]))["args"]
        sessions[question] = span.attributes.get("session.id")
    assert sessions == {**ids, "c": None}
