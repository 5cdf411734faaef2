"""Servers of mcp 2, which need no help; those of mcp 1.x and of fastmcp are tested in ``crossings/``."""

import asyncio

import pytest

from hl_sessions import SessionManager, acurrent_session_id
from hl_sessions.integrations.asgi import HLSessionMiddleware
from tests.integrations.conftest import ServeASGI
from tests.sessions_api import SessionsAPI

pytest.importorskip("mcp.server.mcpserver")

from mcp import Client, types
from mcp.server.mcpserver import MCPServer

from hl_sessions.integrations.mcp import connect


def test_each_call_has_the_session_of_its_own_request(
    serve_asgi: ServeASGI, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Three at once, by one connection."""
    server = MCPServer("test")
    assert connect(connect(server)) is server

    @server.tool()
    async def tool() -> str:
        return str(await acurrent_session_id())

    app = HLSessionMiddleware(server.streamable_http_app(), manager)
    host, port = serve_asgi(app, lifespan="on")

    async def call(client: Client) -> str:
        (content,) = (await client.call_tool("tool", {})).content
        assert isinstance(content, types.TextContent)
        return content.text

    async def calls() -> list[str]:
        async with Client(f"http://{host}:{port}/mcp") as client:
            return await asyncio.gather(*(call(client) for _ in range(3)))

    seen = asyncio.run(calls())
    assert len({*seen}) == 3 == sessions_api.posts
    assert all(session_id.startswith("sesh_") for session_id in seen)


def test_anything_else_is_refused() -> None:
    """With its name."""
    with pytest.raises(TypeError, match="not an MCP server of mcp or fastmcp: <object object"):
        connect(object())
