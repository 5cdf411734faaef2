#!/usr/bin/env bash
#
# What an f-string in a call of Logfire calls is called twice, and the log has the second result.
#
# Expected: an f-string is evaluated before `logfire.info` is called, once, as everywhere in Python.
#
# Seen: logfire 5.4.0 looks up the call in the source, and evaluates the expressions of its f-string a second time, for
# the attributes and the message (`inspect_arguments`, on by default). Without the source, as in code from a pipe, they
# are evaluated once.
#
# Why it hurts: `logfire.info(f"answer: {ask(question)}")` calls the model twice, and pays twice; `queue.pop()` in a log
# line loses one. Pass the values as arguments: `logfire.info("answer: {answer}", answer=answer)`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check logfire==5.4.0 opentelemetry-sdk==1.45.2

cat > "$folder/run.py" <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import logfire
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

warnings.simplefilter("ignore")  # that there is no source
exporter = InMemorySpanExporter()
logfire.configure(
    send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(exporter)]
)
calls = []


def ask():
    calls.append("call")
    return f"answer {len(calls)}"


logfire.info(f"The model says: {ask()}")
messages = [span.attributes["logfire.msg"] for span in exporter.get_finished_spans()]
found = len(calls), messages[-1]
print("logfire", version("logfire"), "calls and message:", found)
assert found == ((1, "The model says: answer 1") if "--once" in sys.argv else (2, "The model says: answer 2"))
PYTHON
"$folder/environment/bin/python" "$folder/run.py"
"$folder/environment/bin/python" - --once < "$folder/run.py"
