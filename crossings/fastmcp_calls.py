"""A server of any fastmcp, and calls of it."""

import asyncio
from typing import Any

from fastmcp import Client, FastMCP

from hl_sessions import acurrent_session_id, current_session_id


def make_server() -> FastMCP[Any]:
    server: FastMCP[Any] = FastMCP("test")

    @server.tool
    async def tool() -> str:
        return str(await acurrent_session_id())

    @server.tool
    def sync_tool() -> str:
        return str(current_session_id())

    @server.resource("test://resource")
    async def resource() -> str:
        return str(await acurrent_session_id())

    @server.prompt
    async def prompt() -> str:
        return str(await acurrent_session_id())

    return server


async def _everything_read(url: str, **options: Any) -> list[str]:
    async with Client(url, **options) as client:
        resource: Any = await client.read_resource("test://resource")
        prompt: Any = await client.get_prompt("prompt")
        results = [
            await client.call_tool("tool", {}),
            await client.call_tool("sync_tool", {}),
            *await asyncio.gather(*(client.call_tool("tool", {}) for _ in range(3))),
        ]
        return [resource[0].text, prompt.messages[0].content.text, *(result.data for result in results)]


def everything_read(url: str, **options: Any) -> list[str]:
    """The sessions of a call of each kind, and of three at once."""
    return asyncio.run(_everything_read(url, **options))
