#!/usr/bin/env bash
#
# Opik's `@track` logs the arguments as the function has left them: a history that it adds to has the answer in it.
#
# Expected: the input is what the function was called with. It is sent when the call begins, and stays as it was sent.
#
# Seen: opik 2.2.122 sends the right input at the start, and another one at the end, from the same objects, which takes
# its place: a list of messages to which the function appends its answer has the answer as well. Langfuse 5.0.4 and
# LangSmith 0.15.1 keep the input of the call. (Opik copies what is changed after the function has returned, since its
# pull request 2225.)
#
# Why it hurts: `history.append(...)` is how chats are written. In the trace each question has its answer already, and
# an evaluation or a dataset that is made from the inputs shows the model what it is to find out. Hand on a copy,
# `history + [message]`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  opik==2.2.122 langfuse==5.0.4 langsmith==0.15.1 opentelemetry-api==1.45.2 opentelemetry-sdk==1.45.2
cat > "$folder/run.py" <<'PYTHON'
import gzip
import json
import logging
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from langfuse import Langfuse, observe
from langsmith import Client, traceable
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self):
        if self.headers["Transfer-Encoding"] == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        posted.append(json.loads(body))
        self.do_GET()

    do_PATCH = do_POST

    def log_message(self, *arguments): ...


def chat(history):
    history.append({"role": "assistant", "content": "It rains."})


def texts(messages):
    return [message["content"] for message in messages]


def question():
    return [{"role": "user", "content": "Rain?"}]


logging.disable()  # that there is no server of Langfuse
posted = []
server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
os.environ.update(
    OPIK_URL_OVERRIDE=address, OPIK_API_KEY="key", OPIK_WORKSPACE="chat", LANGSMITH_TRACING="true"
)

import opik

opik.track(chat)(question())
opik.flush_tracker()
found = {"opik": [texts(trace["input"]["history"]) for batch in posted for trace in batch.get("traces", [])]}

posted.clear()
client = Client(api_url=address, api_key="key", auto_batch_tracing=False)
traceable(chat, client=client)(question())
client.flush()
found["langsmith"] = [texts(run["inputs"]["history"]) for run in posted if "inputs" in run]

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:1", tracer_provider=provider)
observe()(chat)(question())
(span,) = exporter.get_finished_spans()
found["langfuse"] = [texts(json.loads(span.attributes["langfuse.observation.input"])["args"][0])]

for name, inputs in found.items():
    print(name, version(name), "the input, as it is sent:", inputs, flush=True)
expected = {"opik": ["Rain?", "It rains."], "langsmith": ["Rain?"], "langfuse": ["Rain?"]}
os._exit({name: inputs[-1] for name, inputs in found.items()} != expected)  # without tries to reach a server
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
