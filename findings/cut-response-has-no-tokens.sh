#!/usr/bin/env bash
#
# A streamed response of OpenAI that reaches `max_output_tokens` has no tokens in traces of OpenInference and Sentry.
#
# Expected: the last event of the stream, `response.incomplete`, has the whole response with its usage, as
# `response.completed` has. The trace has the same text and tokens as without a stream.
#
# Seen: for openai 3.57.0 the span of openinference-instrumentation-openai 0.1.66 has neither output nor tokens, and is
# no error; that of sentry-sdk 2.75.0 has the text and no tokens. Both wait for `response.completed`. Without a stream
# both have all, and langfuse 5.0.4 has both.
#
# Why it hurts: an answer that fills its limit has cost the most, and counts nothing: the sums by session and by user
# are too small, and the answers that were cut, which are looked for, are empty. Take the usage from the event
# `response.incomplete`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  openai==3.57.0 httpx2==2.16.2 sentry-sdk==2.75.0 langfuse==5.0.4 openinference-instrumentation-openai==0.1.66 \
  opentelemetry-api==1.45.2 opentelemetry-sdk==1.45.2
cat > "$folder/run.py" <<'PYTHON'
import json
import logging
import os
import sys
from importlib.metadata import version

import httpx2
from openai import OpenAI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TEXT = "It rains."
CONTENT = [{"type": "output_text", "text": TEXT, "annotations": []}]
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "incomplete",
    "incomplete_details": {"reason": "max_output_tokens"}, "parallel_tool_calls": True, "tool_choice": "auto",
    "tools": [], "output": [
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "incomplete", "content": CONTENT}
    ],
    "usage": {
        "input_tokens": 7, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 16,
    },
}
DELTA = {"output_index": 0, "content_index": 0, "item_id": "msg_1", "delta": TEXT, "logprobs": []}
BEGUN = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}


def event(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': 0, **fields})}\n\n"


def answer(request):
    if not json.loads(request.content).get("stream"):
        return httpx2.Response(200, json=RESPONSE)
    body = event("response.created", response=BEGUN) + event("response.output_text.delta", **DELTA)
    body += event("response.incomplete", response=RESPONSE)
    return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, text=body)


def ask(stream, client_class=OpenAI):
    http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = client_class(api_key="key", base_url="http://server", http_client=http_client)
    response = client.responses.create(model="m", input="Rain?", max_output_tokens=9, stream=stream)
    if stream:
        *_, last = response
        response = last.response
    assert (response.output_text, response.usage.output_tokens) == (TEXT, 9)


def recorded():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter, provider


def of_openinference(stream):
    from openinference.instrumentation.openai import OpenAIInstrumentor

    exporter, provider = recorded()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    ask(stream)
    (span,) = exporter.get_finished_spans()
    assert span.status.is_ok
    return TEXT in span.attributes.get("output.value", ""), span.attributes.get("llm.token_count.completion")


def of_sentry(stream):
    import sentry_sdk

    seen = []
    sentry_sdk.init(
        "http://key@127.0.0.1:1/1", traces_sample_rate=1, send_default_pii=True,
        before_send_transaction=lambda event, hint: seen.extend(event["spans"]),
    )
    with sentry_sdk.start_transaction(name="chat"):
        ask(stream)
    (span,) = (span for span in seen if span["op"].startswith("gen_ai"))
    return TEXT in span["data"].get("gen_ai.response.text", ""), span["data"].get("gen_ai.usage.output_tokens")


def of_langfuse(stream):
    from langfuse import Langfuse
    from langfuse.openai import OpenAI

    exporter, provider = recorded()
    Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:1", tracer_provider=provider)
    ask(stream, OpenAI)
    (span,) = exporter.get_finished_spans()
    usage = json.loads(span.attributes["langfuse.observation.usage_details"])
    return TEXT in span.attributes["langfuse.observation.output"], usage["output_tokens"]


logging.disable()  # that there is no server
name, how = sys.argv[1:]
tracers = {
    "openinference-instrumentation-openai": (of_openinference, (False, None)),
    "sentry-sdk": (of_sentry, (True, None)),
    "langfuse": (of_langfuse, (True, 9)),
}
tracer, streamed = tracers[name]
found = tracer(how == "stream")
print(name, version(name), how, "has the text, tokens:", found, flush=True)
os._exit(found != (streamed if how == "stream" else (True, 9)))  # without tries to reach a server
PYTHON
for name in openinference-instrumentation-openai sentry-sdk langfuse; do
  "$folder/venv/bin/python" "$folder/run.py" "$name" whole
  "$folder/venv/bin/python" "$folder/run.py" "$name" stream
done
