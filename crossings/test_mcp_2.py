"""Servers and clients on mcp 2."""

# /// script
# dependencies = ["mcp==2.3.0", "uvicorn"]
# ///

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer

from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations.asgi import HLSessionMiddleware
from hl_sessions.integrations.httpx import propagate
from hl_sessions.integrations.mcp import connect
from tests.pages import run_block
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE

Serve = Callable[[Any], str]


def make_server() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("test")

    @server.tool()
    async def tool() -> str:
        return str(await acurrent_session_id())

    @server.tool()
    def sync_tool() -> str:
        return str(current_session_id())

    return server


async def call(client: Client, tool: str = "tool") -> str:
    return str((await client.call_tool(tool, {})).content[0].text)


@pytest.mark.parametrize("is_connected", [False, True])
@pytest.mark.parametrize("transport", ["mcp", "sse"])
def test_each_call_has_the_session_of_its_own_request(
    transport: str, is_connected: bool, serve: Serve, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    server = make_server()
    if is_connected:
        assert connect(server) is server
    app = server.sse_app() if transport == "sse" else server.streamable_http_app()
    url = f"{serve(HLSessionMiddleware(app, manager))}/{transport}"

    async def run() -> list[str]:
        async with Client(sse_client(url) if transport == "sse" else url) as client:
            several = await asyncio.gather(*(call(client) for _ in range(3)))
            return [await call(client), await call(client, "sync_tool"), *several]

    seen = asyncio.run(run())
    assert len({*seen}) == 5 == sessions_api.posts
    assert all(each.startswith("sesh_") for each in seen)


@pytest.mark.parametrize("is_connected_in_a_scope", [False, True])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_and_its_server_have_one_session(
    mode: Any, is_connected_in_a_scope: bool, serve: Serve, manager: SessionManager
) -> None:
    """Each of several interactions at once, by one connection, no matter in which one it was connected."""
    secret = SharedSecret("a secret of many characters")
    app = HLSessionMiddleware(make_server().streamable_http_app(), manager, trust=secret)
    url = f"{serve(app)}/mcp"

    async def interaction(client: Client) -> None:
        async with manager.session(new=True) as session:
            assert [await call(client), await call(client, "sync_tool")] == [await session.aid()] * 2

    async def interactions() -> None:
        http = propagate(
            httpx2.AsyncClient(trust_env=False, timeout=PATIENCE), hosts=["127.0.0.1"], secret=secret
        )
        async with http, Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            await asyncio.gather(*(interaction(client) for _ in range(4)))

    if is_connected_in_a_scope:
        with manager.session():
            asyncio.run(interactions())
    else:
        asyncio.run(interactions())


def test_what_the_guide_shows(serve: Serve, manager: SessionManager) -> None:
    block = run_block("agents.md", "An agent and its MCP server")
    url = serve(block["app"])

    async def run() -> None:
        async with block["library"](f"{url}/mcp") as client:
            for _ in range(2):
                async with manager.session() as session:
                    result = await client.call_tool("search", {"question": "Why?"})
                    assert result.content[0].text == await session.aid()

    asyncio.run(run())
