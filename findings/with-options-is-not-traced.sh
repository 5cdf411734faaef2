#!/usr/bin/env bash
#
# A call by `client.with_options(timeout=5)` is in no trace of LangSmith, Opik, Braintrust and Logfire.
#
# Expected: a client that was handed to `wrap_openai`, `track_openai` or `instrument_openai` is traced in each of its
# calls, whatever options a call has.
#
# Seen: `with_options` of openai 3.57.0 makes a new client. langsmith 0.15.1, opik 2.2.122, braintrust 0.48.1 and
# logfire 5.4.0 have replaced methods of the old one, so that the call of the new one is made, and not traced; no error,
# no warning. langfuse 5.0.4 and openinference-instrumentation-openai 0.1.66, which patch OpenAI's classes, trace it.
#
# Why it hurts: the calls with options of their own are those with a longer time-out or other retries, the long and
# costly ones. Their tokens are missing in the sums, while all other calls are there. Wrap what `with_options` returns,
# or give `timeout=` in the call.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  openai==3.57.0 httpx2==2.16.2 langsmith==0.15.1 opik==2.2.122 braintrust==0.48.1 logfire==5.4.0 langfuse==5.0.4 \
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

NOWHERE = "http://127.0.0.1:1"


def answer(request):
    text = json.loads(request.content)["messages"][0]["content"]
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return httpx2.Response(200, json=whole)


def new_client(client_class=OpenAI):
    http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
    return client_class(api_key="key", base_url="http://server", http_client=http_client)


def ask(client):
    """Ask by a client, and by one of its own with another time-out."""
    for name, asked in (("plain", client), ("with_options", client.with_options(timeout=5))):
        messages = [{"role": "user", "content": name}]
        completion = asked.chat.completions.create(model="m", messages=messages)
        assert completion.choices[0].message.content == name


def recorded():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter, provider


def of_langsmith():
    os.environ["LANGSMITH_TRACING"] = "true"
    from langsmith import Client
    from langsmith.wrappers import wrap_openai

    class Kept(Client):
        def create_run(self, name, inputs, *arguments, **named):
            runs.append(inputs)

        def update_run(self, *arguments, **named): ...

    runs = []
    client = Kept(api_url=NOWHERE, api_key="key", auto_batch_tracing=False)
    ask(wrap_openai(new_client(), tracing_extra={"client": client}))
    return runs


def of_opik():
    os.environ.update(OPIK_URL_OVERRIDE=NOWHERE, OPIK_API_KEY="key", OPIK_WORKSPACE="chat")
    import opik
    from opik.integrations.openai import track_openai

    with opik.record_traces_locally() as storage:
        ask(track_openai(new_client()))
        return [trace.input for trace in storage.trace_trees]


def of_braintrust():
    from braintrust import logger, wrap_openai
    from braintrust.test_helpers import init_test_logger

    with logger._internal_with_memory_background_logger() as memory:
        init_test_logger("chat")
        ask(wrap_openai(new_client()))
        return [span["input"] for span in memory.pop()]


def of_logfire():
    import logfire

    exporter = InMemorySpanExporter()
    logfire.configure(
        send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(exporter)]
    )
    client = new_client()
    logfire.instrument_openai(client)
    ask(client)
    return [dict(span.attributes) for span in exporter.get_finished_spans()]


def of_langfuse():
    from langfuse import Langfuse
    from langfuse.openai import OpenAI

    exporter, provider = recorded()
    Langfuse(public_key="pk", secret_key="sk", base_url=NOWHERE, tracer_provider=provider)
    ask(new_client(OpenAI))
    return [dict(span.attributes) for span in exporter.get_finished_spans()]


def of_openinference():
    from openinference.instrumentation.openai import OpenAIInstrumentor

    exporter, provider = recorded()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    ask(new_client())
    return [dict(span.attributes) for span in exporter.get_finished_spans()]


logging.disable()  # that there is no server
name = sys.argv[1]
tracers = {
    "langsmith": of_langsmith, "opik": of_opik, "braintrust": of_braintrust, "logfire": of_logfire,
    "langfuse": of_langfuse, "openinference-instrumentation-openai": of_openinference,
}
traced = str(tracers[name]())
found = [call for call in ("plain", "with_options") if call in traced]
print(name, version(name), "traced calls:", found, flush=True)
complete = name in ("langfuse", "openinference-instrumentation-openai")
os._exit(found != (["plain", "with_options"] if complete else ["plain"]))  # without tries to reach a server
PYTHON
for name in langsmith opik braintrust logfire langfuse openinference-instrumentation-openai; do
  "$folder/venv/bin/python" "$folder/run.py" "$name"
done
