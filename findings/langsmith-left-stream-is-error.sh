#!/usr/bin/env bash
#
# A streamed answer that its reader leaves is a failed run in LangSmith, with the error GeneratorExit.
#
# Expected: the run ends with what was streamed, and no error: closing a generator, or leaving the loop over it, is how
# Python says that no more is wanted. Langfuse does so.
#
# Seen: with langsmith 0.15.1 the run of an `@traceable` generator whose loop is left by `break` has its output so far,
# and an `error` with the traceback of GeneratorExit. In langfuse 5.0.4 it has the same output, and no error.
#
# Why it hurts: each user who presses "stop", or closes the page, adds a failed run, and the true ones are lost in them.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check \
  langfuse==5.0.4 langsmith==0.15.1 opentelemetry-api==1.45.2 opentelemetry-sdk==1.45.2

cat > "$folder/run.py" <<'PYTHON'
import json
import logging
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from queue import Queue

from langfuse import Langfuse, observe
from langsmith import Client, traceable
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class LangSmith(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_PATCH(self):
        ended.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.do_GET()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *arguments): ...


def words():
    yield from "abc"


def leave(generator):
    for _ in generator:
        break


logging.disable()  # that there is no server of Langfuse
ended = Queue()
server = HTTPServer(("127.0.0.1", 0), LangSmith)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["LANGSMITH_TRACING"] = "true"
client = Client(
    api_url=f"http://127.0.0.1:{server.server_port}", api_key="none", auto_batch_tracing=False
)
leave(traceable(words, client=client)())
run = ended.get(timeout=30)

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:1", tracer_provider=provider)
leave(observe()(words)())
(span,) = exporter.get_finished_spans()

found = {
    "langsmith": (run["outputs"], (run["error"] or "").split("(")[0]),
    "langfuse": tuple(span.attributes.get(f"langfuse.observation.{name}") for name in ("output", "level")),
}
for name, each in found.items():
    print(name, version(name), each, flush=True)
expected = {"langsmith": ({"output": ["a"]}, "GeneratorExit"), "langfuse": ("a", None)}
os._exit(found != expected)  # without the exporter's attempts to reach a server
PYTHON
"$folder/environment/bin/python" "$folder/run.py"
