#!/usr/bin/env bash
#
# Logfire takes `session.id`, which is OpenTelemetry's own name, for a secret. `gen_ai.conversation.id` is none.
#
# Expected: scrubbing is for passwords and cookies. The ID of a conversation is kept under both names that the semantic
# conventions have for it, or under neither.
#
# Seen: with Logfire 5.4.0 `session.id` is "[Scrubbed due to 'session']" in each exported span, be it made by Logfire
# or by OpenTelemetry's tracer, and `gen_ai.conversation.id` is as it was set. No warning is shown. `session` is one of
# the patterns in logfire/_internal/scrubbing.py; among the names that are kept is `langsmith.metadata.session_id`.
#
# Why it hurts: all traces have the same session, and a search for any other one finds nothing. For what has been sent
# the ID is gone. `ScrubbingOptions(callback=...)` keeps it.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check logfire==5.4.0 opentelemetry-sdk==1.45.2

cat > "$folder/run.py" <<'PYTHON'
import logfire
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
logfire.configure(
    send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(exporter)]
)
attributes = {"session.id": "chat-1", "gen_ai.conversation.id": "chat-1"}
with logfire.span("of Logfire", **attributes):
    pass
with trace.get_tracer("shop").start_as_current_span("of OpenTelemetry", attributes=attributes):
    pass

spans = exporter.get_finished_spans()
for span in spans:
    print(span.name, {name: span.attributes[name] for name in attributes})
assert [span.name for span in spans] == ["of Logfire", "of OpenTelemetry"]
for span in spans:
    assert span.attributes["session.id"] == "[Scrubbed due to 'session']"
    assert span.attributes["gen_ai.conversation.id"] == "chat-1"
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
