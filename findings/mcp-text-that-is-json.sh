#!/usr/bin/env bash
#
# A tool of the MCP SDK with an optional text cannot be given a text that is JSON: "{}" is refused, and "null" is None.
#
# Expected: what the client sends as a string fits `str | None`, the schema says so as well, and arrives as it is.
#
# Seen: mcp 2.3.0 parses each string as JSON before the check, unless the parameter is exactly `str`
# (mcp/server/mcpserver/utilities/func_metadata.py, `pre_parse_json`), for clients that send objects as strings. The
# list or object that comes of it is no `str`: the call fails with "Input should be a valid string". "null" becomes
# None, and for `Any` each such text becomes what it spells. fastmcp 4.2.3 hands all of them on as they are.
#
# Why it hurts: a tool that logs `output: str | None` works until a model answers in JSON. Declare `output: str = ""`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check mcp==2.3.0 fastmcp==4.2.3 pydantic==2.14.4
"$folder/environment/bin/python" - <<'PYTHON'
import asyncio
import logging
from importlib.metadata import version
from typing import Any

import fastmcp
from mcp.client import Client
from mcp.server.mcpserver import MCPServer

TEXTS = ("plain", "12", "null", "[]", '{"a": 1}')


def required(value: str) -> str:
    return repr(value)


def optional(value: str | None) -> str:
    return repr(value)


def anything(value: Any) -> str:
    return repr(value)


async def results(client, refused):
    found = {}
    for function in (required, optional, anything):
        found[function.__name__] = []
        for text in TEXTS:
            try:
                result = await client.call_tool(function.__name__, {"value": text})
            except fastmcp.exceptions.ToolError:
                found[function.__name__].append("refused")
            else:
                found[function.__name__].append("refused" if refused(result) else result.content[0].text)
    return found


async def main():
    server, fast = MCPServer("server"), fastmcp.FastMCP("server")
    for function in (required, optional, anything):
        server.tool()(function)
        fast.tool(function)
    async with Client(server) as client:
        found["mcp"] = await results(client, lambda result: result.is_error)
    async with fastmcp.Client(fast) as client:
        found["fastmcp"] = await results(client, lambda result: result.is_error)


logging.disable()
found = {}
asyncio.run(main())
for name, each in found.items():
    print(name, version(name), each)
as_sent = [repr(text) for text in TEXTS]
assert found == {
    "mcp": {
        "required": as_sent,
        "optional": ["'plain'", "'12'", "None", "refused", "refused"],
        "anything": ["'plain'", "'12'", "None", "[]", "{'a': 1}"],
    },
    "fastmcp": dict.fromkeys(("required", "optional", "anything"), as_sent),
}
PYTHON
