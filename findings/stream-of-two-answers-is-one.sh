#!/usr/bin/env bash
#
# Two answers that OpenAI streams at once, `n=2`, are one in the traces of Langfuse, Opik, Braintrust and Sentry.
#
# Expected: the trace has both answers, or the first one.
#
# Seen: langfuse 5.0.4, opik 2.2.122, braintrust 0.48.1 and sentry-sdk 2.75.0 join the pieces in the order in which they
# come, whichever answer they belong to: of "It rains." and "No idea." they make "ItNo rains. idea.". Langfuse's issue
# 16998 is open. openinference-instrumentation-openai 0.1.66 keeps the two apart, as OpenAI's own `stream()` does.
#
# Why it hurts: where two answers are sampled to choose from, or to compare, a text is read and scored that no model has
# written. The application itself sees both answers, so that nothing seems wrong. Make two calls instead.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  openai==3.57.0 httpx2==2.16.2 langfuse==5.0.4 opik==2.2.122 braintrust==0.48.1 sentry-sdk==2.75.0 \
  openinference-instrumentation-openai==0.1.66 opentelemetry-api==1.45.2 opentelemetry-sdk==1.45.2
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

PIECES = ((0, "It"), (1, "No"), (0, " rains."), (1, " idea."))
NOWHERE = "http://127.0.0.1:1"


def event(index, delta, finish_reason=None):
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n"


def answer(request):
    body = "".join(event(index, {"role": "assistant", "content": text}) for index, text in PIECES)
    body += event(0, {}, "stop") + event(1, {}, "stop") + "data: [DONE]\n\n"
    return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, text=body)


def ask(client):
    messages = [{"role": "user", "content": "Rain?"}]
    list(client.chat.completions.create(model="m", messages=messages, n=2, stream=True))


def new_client(client_class=OpenAI):
    http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
    return client_class(api_key="key", base_url="http://server", http_client=http_client)


def recorded():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter, provider


def of_langfuse():
    from langfuse import Langfuse
    from langfuse.openai import OpenAI

    exporter, provider = recorded()
    Langfuse(public_key="pk", secret_key="sk", base_url=NOWHERE, tracer_provider=provider)
    ask(new_client(OpenAI))
    (span,) = exporter.get_finished_spans()
    return [span.attributes["langfuse.observation.output"]]


def of_opik():
    os.environ.update(OPIK_URL_OVERRIDE=NOWHERE, OPIK_API_KEY="key", OPIK_WORKSPACE="chat")
    import opik
    from opik.integrations.openai import track_openai

    with opik.record_traces_locally() as storage:
        ask(track_openai(new_client()))
        (trace,) = storage.trace_trees
    return [choice["message"]["content"] for choice in trace.output["choices"]]


def of_braintrust():
    from braintrust import logger, wrap_openai
    from braintrust.test_helpers import init_test_logger

    with logger._internal_with_memory_background_logger() as memory:
        init_test_logger("chat")
        ask(wrap_openai(new_client()))
        (span,) = memory.pop()
    return [choice["message"]["content"] for choice in span["output"]]


def of_sentry():
    import sentry_sdk

    seen = []
    sentry_sdk.init(
        "http://key@127.0.0.1:1/1", traces_sample_rate=1, send_default_pii=True,
        before_send_transaction=lambda event, hint: seen.extend(event["spans"]),
    )
    with sentry_sdk.start_transaction(name="chat"):
        ask(new_client())
    return [span["data"]["gen_ai.response.text"] for span in seen if "gen_ai.response.text" in span["data"]]


def of_openinference():
    from openinference.instrumentation.openai import OpenAIInstrumentor

    exporter, provider = recorded()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    ask(new_client())
    (span,) = exporter.get_finished_spans()
    return [choice["message"]["content"] for choice in json.loads(span.attributes["output.value"])["choices"]]


logging.disable()  # that there is no server
name = sys.argv[1]
tracers = {
    "langfuse": of_langfuse, "opik": of_opik, "braintrust": of_braintrust, "sentry-sdk": of_sentry,
    "openinference-instrumentation-openai": of_openinference,
}
found = tracers[name]()
print(name, version(name), found, flush=True)
mixed = name != "openinference-instrumentation-openai"
os._exit(found != (["ItNo rains. idea."] if mixed else ["It rains.", "No idea."]))  # without tries to reach a server
PYTHON
for name in langfuse opik braintrust sentry-sdk openinference-instrumentation-openai; do
  "$folder/venv/bin/python" "$folder/run.py" "$name"
done
