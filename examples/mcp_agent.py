"""An agent and its MCP server: what the tools log belongs to the session of the question that they serve.

Needs the API (``hl-sessions serve``), mcp 2 and, in this folder, ``uvicorn mcp_agent:app --port 8700``; then:
``python mcp_agent.py``
"""

import asyncio
import os
from urllib.parse import urlsplit

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer

from hl_sessions import configure, datapoint, log, with_session
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations.asgi import HLSessionMiddleware
from hl_sessions.integrations.httpx import propagate

URL = os.environ.get("MCP_URL", "http://127.0.0.1:8700/mcp")
SECRET = SharedSecret(os.environ.get("SHARED_SECRET", "the same random text in both"))
KNOWN = {"What is the answer?": "42", "Who asks?": "a mouse"}

configure(project="mcp-agent")
server = MCPServer("library")


@server.tool()
@datapoint(source="search")  # each call: its argument is the input, its result the output
async def search(question: str) -> str:
    """Find what is known."""
    return KNOWN.get(question, "nothing")


app = HLSessionMiddleware(server.streamable_http_app(), trust=SECRET)


@with_session
async def ask(library: Client, question: str) -> str:
    """Answer a question from what the server knows."""
    result = await library.call_tool("search", {"question": question})
    found = str((result.structured_content or {})["result"])
    log(source="answer", inputs={"question": question}, output=found)
    return f"{question} {found}!"


async def main() -> None:
    """Ask two questions at once, by one connection."""
    http = propagate(httpx2.AsyncClient(), hosts=[urlsplit(URL).netloc], secret=SECRET)
    async with http, Client(streamable_http_client(URL, http_client=http)) as library:
        for answer in await asyncio.gather(*(ask(library, question) for question in KNOWN)):
            print(answer)


if __name__ == "__main__":
    asyncio.run(main())
