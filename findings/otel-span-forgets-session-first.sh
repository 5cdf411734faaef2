#!/usr/bin/env bash
#
# In a long conversation OpenTelemetry's Python SDK drops `session.id` from the span, and keeps all later attributes.
#
# Expected: a span has 128 attributes at most. As the specification says, one that does not fit is discarded: the last
# messages of a long conversation are missing, and the session, which was put there first, stays.
#
# Seen: opentelemetry-sdk 1.45.2 discards the oldest attribute for each new one (opentelemetry/attributes,
# `_setitem_locked`). OpenInference 0.1.66 writes the session, the input and the model first, then two attributes for
# each message: with 40 messages the span has its session; with 60 it has lost that and the input, and no message.
#
# Why it hurts: the sessions of short chats are whole; from about the 60th message on the calls of a chat belong to no
# session, with a warning in the log at most. Set OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT, or use OpenInference's
# TracerProvider, which raises the limit.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check openinference-instrumentation==0.1.72 \
  openinference-instrumentation-openai==0.1.66 opentelemetry-api==1.45.2 opentelemetry-sdk==1.45.2 openai==3.57.0
"$folder/environment/bin/python" - <<'PYTHON'
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

from openai import OpenAI
from openinference.instrumentation import using_session
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "42"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Model(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments): ...


logging.getLogger("opentelemetry").setLevel("ERROR")  # a warning for each attribute that is dropped
server = HTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = OpenAI(api_key="none", base_url=f"http://127.0.0.1:{server.server_port}/v1")
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
OpenAIInstrumentor().instrument(tracer_provider=provider)


def ask(count):
    exporter.clear()
    messages = [{"role": "user", "content": f"Question {number}"} for number in range(count)]
    with using_session("chat-1"):
        client.chat.completions.create(model="m", messages=messages)
    (span,) = exporter.get_finished_spans()
    last = f"llm.input_messages.{count - 1}.message.content"
    names = ("session.id", "input.value", last)
    return len(span.attributes), span.dropped_attributes, [name in span.attributes for name in names]


found = {count: ask(count) for count in (40, 60)}
print("opentelemetry-sdk", version("opentelemetry-sdk"), "has session, input and last message:", found)
assert found == {40: (95, 0, [True, True, True]), 60: (128, 8, [False, False, True])}
PYTHON
