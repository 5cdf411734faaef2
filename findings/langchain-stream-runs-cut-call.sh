#!/usr/bin/env bash
#
# LangChain's agent runs a tool with half of its arguments, 12 for 1250, if it is streamed and the answer is cut.
#
# Expected: a call of a tool that `max_tokens` has cut is no JSON, and runs nothing, whether the agent is streamed or
# not: it is among `invalid_tool_calls`.
#
# Seen: with langchain 1.5.2 and langchain-core 1.8.3 it is so for `invoke` and `stream(stream_mode="updates")`. With
# `stream_mode="messages"`, which streams the model, the arguments of the chunks are completed to JSON
# (langchain_core/messages/ai.py, `init_tool_calls`), and kept so when the answer has ended: the tool is run with what
# had come (issue 39275 of langchain). The history then has these arguments as if the model had written them.
#
# Why it hurts: a number, a path or a text that is cut is another one, and the tool that gets it deletes, pays or
# sends; in the log nothing tells. Only streamed agents do it, and only long answers. Look at `finish_reason` in a
# middleware before the tools are run.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  langchain==1.5.2 langchain-core==1.8.3 langchain-openai==1.7.4 langgraph==1.2.24 openai==3.57.0 httpx2==2.16.2
"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

import httpx2
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

CUT = '{"order": "A-7", "amount": 12'  # of 1250


def answer(request):
    asked = json.loads(request.content)
    function = {"name": "refund", "arguments": CUT}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    message = {"role": "assistant", "tool_calls": [call]}
    first = len(asked["messages"]) == 1
    if not first:
        message = {"role": "assistant", "content": "Done."}
    choice = {"index": 0, "finish_reason": "length" if first else "stop"}
    whole = {"id": "1", "created": 1, "model": "m"}
    if not asked.get("stream"):
        return httpx2.Response(
            200, json={**whole, "object": "chat.completion", "choices": [{**choice, "message": message}]}
        )
    chunk = {**whole, "object": "chat.completion.chunk", "choices": [{**choice, "delta": message}]}
    body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, text=body)


def refund(order: str, amount: int) -> str:
    """Pay back the amount of an order."""
    paid.append((order, amount))
    return "paid"


def run(how):
    paid.clear()
    agent, question = create_agent(model, [refund]), {"messages": [("user", "Refund 1250 of A-7.")]}
    if how == "invoke":
        agent.invoke(question)
    else:
        list(agent.stream(question, stream_mode=how))
    return list(paid)


paid = []
http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
model = ChatOpenAI(model="m", api_key="key", base_url="http://server", http_client=http_client)
found = {how: run(how) for how in ("invoke", "updates", "messages")}
print("langchain", version("langchain"), "langchain-core", version("langchain-core"), "runs of the tool:", found)
assert found == {"invoke": [], "updates": [], "messages": [("A-7", 12)]}
PYTHON
