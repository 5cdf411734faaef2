"""A language model that needs no network: it calls a tool that it is offered, and repeats what it was given.

It speaks what the examples use of OpenAI's chat completions, streams and tools included. The same messages
have the same answer.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

SECONDS_PER_WORD: Final = 0.03


async def complete(request: Request) -> Response:
    """Answer a call of ``POST /v1/chat/completions``."""
    asked = await request.json()
    messages = asked["messages"]
    calls = _tool_calls(messages[-1], asked.get("tools", []))
    text = None if calls else _answer(messages)
    words = re.findall(r"\S+\s*", text or "")
    given = sum(len(_text(message).split()) for message in messages)
    completion = {
        "id": "chatcmpl-1",
        "created": 0,
        "model": asked["model"],
        "usage": {
            "prompt_tokens": given,
            "completion_tokens": len(words),
            "total_tokens": given + len(words),
        },
    }
    if asked.get("stream"):
        return StreamingResponse(_events(completion, words), media_type="text/event-stream")
    message = {"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return JSONResponse({**completion, "object": "chat.completion", "choices": [choice]})


async def _events(completion: dict[str, Any], words: list[str]) -> AsyncIterator[str]:
    """Yield a chunk for each word, and a last one with the numbers of tokens."""
    usage = completion.pop("usage")
    chunks = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": word}}]} for word in words]
    for chunk in [*chunks, {"choices": [], "usage": usage}]:
        yield f"data: {json.dumps({**completion, 'object': 'chat.completion.chunk', **chunk})}\n\n"
        await asyncio.sleep(SECONDS_PER_WORD)
    yield "data: [DONE]\n\n"


def _tool_calls(message: dict[str, Any], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Call the first tool when a user asks; each of its parameters is the last word of the question."""
    if message["role"] != "user" or not tools:
        return []
    function = tools[0]["function"]
    word = re.findall(r"\w+", _text(message))[-1]
    arguments = json.dumps(dict.fromkeys(function["parameters"]["properties"], word))
    called = {"name": function["name"], "arguments": arguments}
    return [{"id": "call_1", "type": "function", "function": called}]


def _answer(messages: list[dict[str, Any]]) -> str:
    """Repeat the result of a tool, or else what the system says, or else the question."""
    first, last = messages[0], messages[-1]
    if last["role"] == "tool" or first["role"] == "system":
        return f"As far as I know: {_text(last if last['role'] == 'tool' else first)}"
    return f"You asked: {_text(last)}"


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
