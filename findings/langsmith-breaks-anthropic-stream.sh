#!/usr/bin/env bash
#
# A stream of Anthropic's client that LangSmith traces raises TypeError after its last event.
#
# Expected: a client that is wrapped for tracing behaves as before; what goes wrong in the tracing is logged, at most.
#
# Seen: langsmith 0.15.1 builds the message of a stream by a function of anthropic's that is not public
# (langsmith/wrappers/_anthropic.py, `accumulate_event`), and that has another required argument in anthropic 2.14.0.
# Its TypeError comes out of the application's loop over `messages.create(stream=True)`, after all events, and the run
# is never ended. With `messages.stream()` and `text_stream` the run is as it should be.
#
# Why it hurts: the answer has been shown, and then the request fails: it is not kept, or asked for again and paid
# twice. It begins with an update of Anthropic's client, only where tracing is on. Use `messages.stream()`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langsmith==0.15.1 anthropic==2.14.0 httpx2==2.16.2
cat > "$folder/run.py" <<'PYTHON'
import json
import os
from importlib.metadata import version

import httpx2
from anthropic import Anthropic
from langsmith import Client
from langsmith.wrappers import wrap_anthropic

ASKED = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Rain?"}]}
MESSAGE = {
    "id": "1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
    "usage": {"input_tokens": 2, "output_tokens": 1},
}
EVENTS = (
    {"type": "message_start", "message": MESSAGE},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It rains."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
)


class Kept(Client):
    """A client of LangSmith that keeps what it would send."""

    def create_run(self, *arguments, **named): ...

    def update_run(self, run_id, **named):
        ended.append(named["outputs"]["content"][0]["text"])


def answer(request):
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
    return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, text=body)


def create(client):
    for event in client.messages.create(**ASKED, stream=True):
        seen.append(event.type)


def stream(client):
    with client.messages.stream(**ASKED) as stream:
        seen.extend(stream.text_stream)


def run(ask, traced):
    seen.clear()
    ended.clear()
    http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = Anthropic(api_key="key", base_url="http://server", http_client=http_client)
    if traced:
        tracer = Kept(api_url="http://127.0.0.1:1", api_key="key", auto_batch_tracing=False)
        client = wrap_anthropic(client, tracing_extra={"client": tracer})
    error = None
    try:
        ask(client)
    except TypeError as raised:
        error = str(raised)
    return seen[-1], error, list(ended)


os.environ["LANGSMITH_TRACING"] = "true"
seen, ended = [], []
plain, traced, other = run(create, False), run(create, True), run(stream, True)
print("anthropic", version("anthropic"), "the last event, the error, the runs that have ended:", plain)
print("langsmith", version("langsmith"), "create(stream=True):", traced)
print("stream():", other)
assert plain == ("message_stop", None, [])
assert (traced[0], traced[2]) == ("message_stop", []) and "json_bufs" in traced[1]
assert other == ("It rains.", None, ["It rains."])
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
