#!/usr/bin/env bash
#
# What each chunk of a streamed answer repeats is there several times in the whole one: `assistantassistant`.
#
# Expected: a role, an ID or a name that is the same in each chunk is that role, ID or name in the final message.
#
# Seen: openai 3.57.0 joins all texts of a delta but `type` (openai/lib/streaming/_deltas.py). From a server that sends
# the role and the ID of a tool's call in each chunk (Ollama sends the role, its issue 7626), `stream()` makes the role
# `assistantassistant` and the ID `call_1call_1`. langchain-core 1.8.3 does so with `response_metadata` of chunks that
# are added, whatever the key but a few.
#
# Why it hurts: the message is refused when it is sent back as history, the result of a tool belongs to no call, and a
# session ID in the metadata of an answer is another one for each length of an answer. It is so with some servers only.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  openai==3.57.0 httpx==0.28.1 langchain-core==1.8.3
"$folder/venv/bin/python" - <<'PYTHON'
import json
from functools import reduce
from importlib.metadata import version
from operator import add

import httpx
from langchain_core.messages import AIMessageChunk
from openai import OpenAI


def event(arguments, finish_reason=None):
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    choice = {"index": 0, "delta": {"role": "assistant", "tool_calls": [call]}, "finish_reason": finish_reason}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n"


def answer(request):
    body = event("{") + event("}", "tool_calls") + "data: [DONE]\n\n"
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, text=body)


http_client = httpx.Client(transport=httpx.MockTransport(answer))
client = OpenAI(api_key="key", base_url="http://server", http_client=http_client)
with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "Rain?"}]) as stream:
    message = stream.get_final_completion().choices[0].message
(call,) = message.tool_calls
openai_found = message.role, call.id, call.function.name, call.function.arguments
metadata = {"session_id": "chat-1", "model_provider": "openai"}
whole = reduce(add, [AIMessageChunk(content=text, response_metadata=metadata) for text in ("It ", "rains", ".")])

print("openai", version("openai"), openai_found)
print("langchain-core", version("langchain-core"), whole.response_metadata)
assert openai_found == ("assistantassistant", "call_1call_1", "weatherweather", "{}")
assert whole.response_metadata == {"session_id": "chat-1chat-1chat-1", "model_provider": "openai"}
PYTHON
