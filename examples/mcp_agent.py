"""An agent and its MCP server: what the tools log belongs to the session of the question that they serve.

``python examples mcp_agent`` runs it with a server of sessions and a model that needs no network. It needs
``pip install 'hl-sessions[server,signing]' 'mcp>=2' openai``.
"""

import asyncio
import json
import socket
from typing import Any

import httpx2
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from openai import AsyncOpenAI

from hl_sessions import configure, datapoint, with_session
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations.asgi import HLSessionMiddleware
from hl_sessions.integrations.httpx import propagate

SECRET = SharedSecret("the same random text in both")
QUESTIONS = ("Where is order 4711?", "Where is order 4712?")
ORDERS = {"4711": "It left our warehouse on Tuesday.", "4712": "It is being packed."}

configure(project="mcp-agent")
server = MCPServer("shop", log_level="WARNING")
model = AsyncOpenAI()


@server.tool()
@datapoint(source="find order")  # each call: its argument is the input, its result the output
async def find_order(number: str) -> str:
    """Tell where an order is."""
    return ORDERS.get(number, "There is no such order.")


app = HLSessionMiddleware(server.streamable_http_app(), trust=SECRET)


@with_session
async def ask(shop: Client, question: str) -> str:
    """Let the model answer a question with the tools of the server."""
    tools: list[Any] = [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
        }
        for tool in (await shop.list_tools()).tools
    ]
    messages: list[Any] = [{"role": "user", "content": question}]
    with datapoint(source="agent", inputs={"question": question}) as agent:
        while True:
            with datapoint(source="model", messages=messages) as call:  # nested
                call.output = reply = await model.chat.completions.create(
                    model="fake-model", messages=messages, tools=tools
                )
            messages.append(reply.choices[0].message.to_dict())
            tool_calls = messages[-1].get("tool_calls")
            if not tool_calls:
                agent.output = text = str(messages[-1]["content"])
                return text
            for tool_call in tool_calls:
                function = tool_call["function"]
                result = await shop.call_tool(function["name"], json.loads(function["arguments"]))
                found = (result.structured_content or {})["result"]
                messages.append({"role": "tool", "tool_call_id": tool_call["id"], "content": found})


async def main() -> None:
    """Serve the tools, and ask two questions at once, by one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        task = asyncio.create_task(serving.serve(sockets=[listener]))
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        http = propagate(httpx2.AsyncClient(), hosts=[host], secret=SECRET)
        async with http, Client(streamable_http_client(f"http://{host}/mcp", http_client=http)) as shop:
            for answer in await asyncio.gather(*(ask(shop, question) for question in QUESTIONS)):
                print(answer, flush=True)
        serving.should_exit = True
        await task


if __name__ == "__main__":
    asyncio.run(main())
