"""A model on the loopback that speaks as OpenAI's do."""

import json
from typing import Any

from tests.sessions_api import Answer, Request


def call_tools(request: Request) -> Answer:
    """Call each tool that is offered, once and without arguments, then be done."""
    asked = json.loads(request.body)
    message: dict[str, Any] = {"role": "assistant", "content": "done"}
    is_called = any(each["role"] == "tool" for each in asked["messages"])
    if asked.get("tools") and not is_called:
        names = [tool["function"]["name"] for tool in asked["tools"]]
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}
                for name in names
            ],
        }
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
        "logprobs": None,
    }
    return Answer(
        200,
        {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": asked["model"],
            "choices": [choice],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        },
    )
