#!/usr/bin/env bash
#
# Whole numbers in the metadata and the data of an A2A message are floats: an ID of 19 digits is another ID.
#
# Expected: A2A by JSON-RPC is JSON, and Python reads and writes whole numbers of any length exactly. An agent gets 5 as
# 5, and 1234567890123456789 as this number.
#
# Seen: a2a-sdk 1.3.0 keeps `metadata` and `data` in protobuf's Struct, which has doubles only. An agent that is sent
# 1234567890123456789 as JSON reads 1234567890123456768.0, and 5 as 5.0. The SDK's client writes 1.2345678901234568e+18
# into its request. No error, no warning. The SDK before protobuf, 0.3.26, keeps both numbers as they are.
#
# Why it hurts: IDs of messages, channels and users of chat services have 17 to 19 digits, and a datapoint or a session
# that is looked up by them is not found, or it is another one. As text even a small ID does not match: "5.0". Send IDs
# as text.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
for version in 1.3.0 0.3.26; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check \
    "a2a-sdk[http-server]==$version" httpx==0.28.1
done

cat > "$folder/before.py" <<'PYTHON'
from importlib.metadata import version

from a2a.types import Message

message = {"kind": "message", "messageId": "1", "role": "user", "parts": [{"kind": "text", "text": "Hello"}]}
found = Message(**message, metadata={"channel": 1234567890123456789, "turn": 5}).metadata
print("a2a-sdk", version("a2a-sdk"), found)
assert repr(found) == "{'channel': 1234567890123456789, 'turn': 5}"
PYTHON

cat > "$folder/after.py" <<'PYTHON'
import asyncio
import json
from importlib.metadata import version

import httpx
from a2a.client import ClientConfig, ClientFactory
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Message,
    Part,
    Role,
    SendMessageRequest,
)
from starlette.applications import Starlette

METADATA = {"channel": 1234567890123456789, "turn": 5}
URL = "http://agent/"


def numbers(metadata):
    return metadata["channel"], metadata["turn"]


class Agent(AgentExecutor):
    async def execute(self, context, event_queue):
        read.append(numbers(context.message.metadata))
        answer = Message(message_id="2", role=Role.ROLE_AGENT, parts=[Part(text="Hello")])
        await event_queue.enqueue_event(answer)

    async def cancel(self, context, event_queue): ...


async def keep_request(request):
    requests.append(json.loads(await request.aread()))


async def main():
    interface = AgentInterface(url=URL, protocol_binding="JSONRPC", protocol_version="1.0")
    card = AgentCard(
        name="agent",
        description="Answers.",
        version="1",
        supported_interfaces=[interface],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="answer", name="answer", description="Answers.", tags=["chat"])],
    )
    handler = DefaultRequestHandler(Agent(), InMemoryTaskStore(), card)
    transport = httpx.ASGITransport(Starlette(routes=create_jsonrpc_routes(handler, "/")))
    async with httpx.AsyncClient(transport=transport, event_hooks={"request": [keep_request]}) as http_client:
        client = ClientFactory(ClientConfig(streaming=False, httpx_client=http_client)).create(card)
        message = Message(message_id="1", role=Role.ROLE_USER, parts=[Part(text="Hello")])
        message.metadata.update(METADATA)
        async for _ in client.send_message(SendMessageRequest(message=message)):
            pass
        body = requests[0] | {"id": "2"}
        sent = numbers(body["params"]["message"]["metadata"])
        body["params"]["message"] |= {"messageId": "3", "metadata": METADATA}
        await http_client.post(URL, json=body, headers={"A2A-Version": "1.0"})
    return sent


requests, read = [], []
sent = asyncio.run(main())
print("a2a-sdk", version("a2a-sdk"), "sends", sent, "an agent that is sent the exact numbers reads", read[1])
assert repr(sent) == "(1.2345678901234568e+18, 5.0)"
assert read == [sent, sent]
assert int(sent[0]) == 1234567890123456768
PYTHON
"$folder/0.3.26/bin/python" "$folder/before.py"
"$folder/1.3.0/bin/python" "$folder/after.py"
