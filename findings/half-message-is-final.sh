#!/usr/bin/env bash
#
# A stream that ends before the model has finished is a final message for Anthropic's and OpenAI's SDKs.
#
# Expected: `get_final_message` and `get_final_completion` raise, if the body ends without the event that closes the
# message (`message_stop`, or `[DONE]`).
#
# Seen: anthropic 2.14.0 and openai 3.57.0 return what has come so far, without an error or a warning, if the body ends
# regularly, as it does behind servers and proxies that close their answer when their own source breaks
# (fastapi-sse-error-ends-stream.sh has one). The stop reason is None, and the usage is what was known at the start.
#
# Why it hurts: half an answer is kept and logged as a whole one, with too few tokens, and nothing tries again. Take a
# message without a stop reason for broken.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  anthropic==2.14.0 httpx2==2.16.2 openai==3.57.0 httpx==0.28.1
"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

import httpx
import httpx2
from anthropic import Anthropic
from openai import OpenAI

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "May I?"}]}
MESSAGE = {
    "id": "1", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": None,
    "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 1},
}
ANTHROPIC = [
    {"type": "message_start", "message": MESSAGE},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "You may"}},
]
CHOICE = {"index": 0, "delta": {"role": "assistant", "content": "You may"}, "finish_reason": None}
OPENAI = [{"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [CHOICE]}]


def client(library, events):
    """A client whose server sends these events and ends the body."""
    names = (f"event: {event['type']}\n" if "type" in event else "" for event in events)
    body = "".join(f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(names, events, strict=True))
    headers = {"Content-Type": "text/event-stream"}
    return library.Client(transport=library.MockTransport(lambda _: library.Response(200, headers=headers, text=body)))


server = {"api_key": "key", "base_url": "http://server"}
with Anthropic(**server, http_client=client(httpx2, ANTHROPIC)).messages.stream(max_tokens=99, **QUESTION) as stream:
    message = stream.get_final_message()
anthropic_found = message.content[0].text, message.stop_reason, message.usage.output_tokens
with OpenAI(**server, http_client=client(httpx, OPENAI)).chat.completions.stream(**QUESTION) as stream:
    completion = stream.get_final_completion()
openai_found = completion.choices[0].message.content, completion.choices[0].finish_reason, completion.usage
print("anthropic", version("anthropic"), "text, stop reason, output tokens:", anthropic_found)
print("openai", version("openai"), "text, finish reason, usage:", openai_found)
assert anthropic_found == ("You may", None, 1)
assert openai_found == ("You may", None, None)
PYTHON
