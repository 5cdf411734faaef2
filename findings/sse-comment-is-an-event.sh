#!/usr/bin/env bash
#
# After an event with an `id`, each keep-alive comment of a stream becomes an event, which ends a stream of
# OpenAI's SDK.
#
# Expected: a comment (`: ping` and a blank line) gives no event, as the standard says; proxies and servers
# send them to keep a slow stream open.
#
# Seen: httpx-sse 0.4.3 gives an event with empty data for every comment once the stream had an `id:` line,
# since the last ID, which is kept from event to event, counts as content of its own (httpx_sse/_decoders.py,
# SSEDecoder.decode; its pull request 46). openai 3.57.0 has a decoder of the same make (openai/_streaming.py)
# and parses the empty data as JSON: JSONDecodeError in the middle of the answer. anthropic 2.14.0, which
# looks at the event's name first, is right.
#
# Why it hurts: the session's last datapoint has half an answer and an error that names JSON, only behind
# gateways that number their events, and only when the model thinks for longer than the keep-alive's pause.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check \
  httpx==0.28.1 httpx-sse==0.4.3 httpx2==2.16.2 openai==3.57.0 anthropic==2.14.0
"$folder/environment/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

import anthropic
import httpx
import httpx2
import httpx_sse
import openai

TYPE = {"content-type": "text/event-stream"}


def stream(*events, with_ids):
    """Events of names and data, with a keep-alive comment after each."""
    text = ""
    for number, (name, data) in enumerate(events, 1):
        text += f"id: {number}\n" if with_ids else ""
        text += f"event: {name}\n" if name else ""
        text += f"data: {data}\n\n: ping\n\n"
    return text.encode()


def httpx_sse_events(with_ids):
    body = stream((None, "one"), (None, "two"), with_ids=with_ids)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=TYPE, content=body))
    with httpx.Client(transport=transport) as client:
        with httpx_sse.connect_sse(client, "GET", "http://model/") as source:
            return [event.data for event in source.iter_sse()]


def openai_answer(with_ids):
    chunk = {
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}],
    }
    body = stream((None, json.dumps(chunk)), (None, json.dumps(chunk)), (None, "[DONE]"), with_ids=with_ids)
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=TYPE, content=body))
    http = httpx2.Client(transport=transport)
    client = openai.OpenAI(api_key="k", base_url="http://model/v1", http_client=http)
    answer = ""
    try:
        for part in client.chat.completions.create(model="m", messages=[], stream=True):
            answer += part.choices[0].delta.content
    except ValueError as error:
        answer += type(error).__name__
    return answer


def anthropic_events(with_ids):
    message = {
        "id": "m", "type": "message", "role": "assistant", "content": [], "model": "x", "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    body = stream(
        ("message_start", json.dumps({"type": "message_start", "message": message})),
        ("message_stop", json.dumps({"type": "message_stop"})),
        with_ids=with_ids,
    )
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=TYPE, content=body))
    http = httpx2.Client(transport=transport)
    client = anthropic.Anthropic(api_key="k", base_url="http://model", http_client=http)
    messages = [{"role": "user", "content": "hi"}]
    answer = client.messages.create(model="m", messages=messages, max_tokens=1, stream=True)
    return [event.type for event in answer]


functions = {"httpx-sse": httpx_sse_events, "openai": openai_answer, "anthropic": anthropic_events}
for name, function in functions.items():
    print(f"{name} {version(name)}: without IDs {function(False)!r}, with IDs {function(True)!r}")
assert httpx_sse_events(False) == ["one", "two"]
assert httpx_sse_events(True) == ["one", "", "two", ""]
assert openai_answer(False) == "word word "
assert openai_answer(True) == "word JSONDecodeError"
assert anthropic_events(False) == anthropic_events(True) == ["message_start", "message_stop"]
PYTHON
