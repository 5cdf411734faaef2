#!/usr/bin/env bash
#
# A streamed response of OpenAI that reaches `max_output_tokens` is a RuntimeError, and the response is lost.
#
# Expected: `get_final_response` returns the response with the status "incomplete", its text and its usage, as
# `responses.create` does without a stream, and as `get_final_completion` does for chat completions.
#
# Seen: with openai 3.57.0 it raises "Didn't receive a `response.completed` event.", although the stream has ended as
# it should, by the event `response.incomplete` with the whole response (openai/lib/streaming/responses/_responses.py;
# pull request 3538 of openai-python is open). The error has neither the response nor its reason, and is none of
# OpenAI's errors.
#
# Why it hurts: long answers, which have cost the most, are in no log, and code that catches `openai.OpenAIError`
# meets another error. Read the event `response.incomplete` from the stream.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openai==3.57.0 httpx==0.28.1
"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

import httpx
from openai import OpenAI, OpenAIError

TEXT = {"type": "output_text", "text": "Once upon", "annotations": []}
ITEM = {"id": "2", "type": "message", "role": "assistant", "status": "incomplete", "content": [TEXT]}
BEGUN = {
    "id": "1", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": [],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
}
USAGE = {
    "input_tokens": 3, "output_tokens": 2, "total_tokens": 5,
    "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
}
INCOMPLETE = {
    **BEGUN, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [ITEM],
    "usage": USAGE,
}
EVENTS = [
    {"type": "response.created", "sequence_number": 0, "response": BEGUN},
    {"type": "response.incomplete", "sequence_number": 1, "response": INCOMPLETE},
]


def answer(request):
    if json.loads(request.content).get("stream"):
        body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, text=body)
    return httpx.Response(200, json=INCOMPLETE)


http_client = httpx.Client(transport=httpx.MockTransport(answer))
responses = OpenAI(api_key="key", base_url="http://server", http_client=http_client).responses
question = {"model": "m", "input": "Tell a story.", "max_output_tokens": 2}
created = responses.create(**question)
with responses.stream(**question) as stream:
    last = [event.type for event in stream][-1]
    try:
        stream.get_final_response()
    except RuntimeError as error:
        raised = error
print("openai", version("openai"), "without a stream:", created.status, repr(created.output_text))
print(f"last event {last}, then {raised!r}")
assert (created.status, created.output_text, created.usage.output_tokens) == ("incomplete", "Once upon", 2)
assert last == "response.incomplete"
assert not isinstance(raised, OpenAIError)
PYTHON
