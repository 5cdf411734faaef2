"""A FastAPI application: a model that calls a tool, an answer that is streamed, and a background task.

``python examples fastapi_chat`` runs it with a server of sessions and a model that needs no network. It needs
``pip install 'hl-sessions[server,fastapi]' openai``.
"""

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionToolParam

from hl_sessions import configure, datapoint, log
from hl_sessions.integrations.starlette import HLSessionMiddleware

configure(project="fastapi-chat")
app = FastAPI()
app.add_middleware(HLSessionMiddleware)
model = AsyncOpenAI()

ORDERS = {"4711": "It left our warehouse on Tuesday.", "4712": "It is being packed."}
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "find_order",
        "description": "Tell where an order is.",
        "parameters": {"type": "object", "properties": {"number": {"type": "string"}}},
    },
}


@app.get("/chat")
async def chat(question: str, background: BackgroundTasks) -> StreamingResponse:
    """Answer word by word; the question is judged when the answer has been sent."""
    background.add_task(judge, question)
    return StreamingResponse(answer(question), media_type="text/plain")


@datapoint(source="answer")  # until the last word; what is logged meanwhile is nested
async def answer(question: str) -> AsyncIterator[str]:
    """Let the model call the tool, then yield the words of its answer."""
    messages: list[Any] = [{"role": "user", "content": question}]
    with datapoint(source="choose tool", messages=messages) as call:
        call.output = reply = await model.chat.completions.create(
            model="fake-model", messages=messages, tools=[TOOL]
        )
    messages.append(reply.choices[0].message.to_dict())
    for tool_call in messages[-1].get("tool_calls", []):
        found = find_order(**json.loads(tool_call["function"]["arguments"]))
        messages.append({"role": "tool", "tool_call_id": tool_call["id"], "content": found})
    with datapoint(source="reply", messages=messages) as call:
        async for chunk in await model.chat.completions.create(
            model="fake-model", messages=messages, stream=True, stream_options={"include_usage": True}
        ):
            call.add_output(chunk)  # the text, and at the end the tokens
            for choice in chunk.choices:
                yield choice.delta.content or ""


@datapoint(source="find order")  # its argument is the input, its result the output
def find_order(number: str) -> str:
    """Tell where an order is."""
    return ORDERS.get(number, "There is no such order.")


def judge(question: str) -> None:
    """Judge a question; FastAPI calls it in a thread, which has the session, too."""
    log(source="judgment", inputs={"question": question}, output="polite")


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    print(f"Ask: curl -N 'http://127.0.0.1:{port}/chat?question=Where+is+order+4711?'", flush=True)
    uvicorn.run(app, port=port)
