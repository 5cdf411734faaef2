#!/usr/bin/env bash
#
# With fastmcp 4 each call of a tool has a session of its own: the next one does not find what `ctx.set_state` kept.
#
# Expected: all calls of one connected client have the same `ctx.session_id`, and state set in one call is there in the
# next.
#
# Seen: with fastmcp 4.2.3 and mcp 2.3.0 two calls by one client have two session IDs, and `get_state` returns None,
# without a warning. The client decides: it speaks MCP 2026-07-28, which has no sessions; with `mode="legacy"` both
# calls have one (fastmcp/server/context.py, `session_id`).
#
# Why it hurts: the server of one team loses its sessions on the day on which another team upgrades the client; what is
# logged by that ID falls apart into one session a call. Use an ID that the caller passes.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check fastmcp==4.2.3 mcp==2.3.0
"$folder/environment/bin/python" - <<'PYTHON'
import asyncio
from importlib.metadata import version

from fastmcp import Client, Context, FastMCP

server = FastMCP("server")


@server.tool
async def remember(value: str, ctx: Context) -> str:
    await ctx.set_state("value", value)
    return ctx.session_id


@server.tool
async def recall(ctx: Context) -> list[str | None]:
    return [ctx.session_id, await ctx.get_state("value")]


async def ask(**mode):
    async with Client(server, **mode) as client:
        first = (await client.call_tool("remember", {"value": "42"})).data
        second, value = (await client.call_tool("recall")).data
        return {"same session": first == second, "value": value}


found = [asyncio.run(ask()), asyncio.run(ask(mode="legacy"))]
print("fastmcp", version("fastmcp"), "by default, and with mode='legacy':", found)
assert found == [{"same session": False, "value": None}, {"same session": True, "value": "42"}]
PYTHON
