"""Servers and clients on mcp 1.x."""

# /// script
# dependencies = ["mcp<2,==1.30.0", "uvicorn"]
# ///

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from mcp import ClientSession, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.fastmcp import FastMCP
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.memory import create_connected_server_and_client_session
from starlette.applications import Starlette
from starlette.routing import Mount

from hl_sessions import SessionManager, acurrent_session_id, current_session_id, with_session
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations.asgi import HLSessionMiddleware, header
from hl_sessions.integrations.httpx import propagate
from hl_sessions.integrations.mcp import connect
from hl_sessions.process.once import Once
from hl_sessions.sessions import late_reads
from tests.pages import run_block
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE

Serve = Callable[[Any], str]


def make_server(**settings: Any) -> FastMCP:
    server = FastMCP("test", **settings)

    @server.tool()
    async def tool() -> str:
        return str(await acurrent_session_id())

    @server.tool()
    def sync_tool() -> str:
        return str(current_session_id())

    @server.tool()
    @with_session
    def decorated_tool(text: str) -> str:
        return str(current_session_id())

    @server.resource("test://resource")
    async def resource() -> str:
        return str(await acurrent_session_id())

    @server.prompt()
    async def prompt() -> str:
        return str(await acurrent_session_id())

    return server


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[ClientSession]:
    transport: Any = sse_client(url) if url.endswith("/sse") else streamable_http_client(url)
    async with transport as (read, write, *_), ClientSession(read, write) as client:
        await client.initialize()
        yield client


async def call(client: ClientSession, tool: str = "tool", **arguments: Any) -> str:
    (content,) = (await client.call_tool(tool, arguments)).content
    assert isinstance(content, types.TextContent)
    return content.text


async def everything_read(url: str) -> list[str]:
    """The sessions of a call of each kind, and of three at once."""
    async with connected(url) as client:
        resource = (await client.read_resource("test://resource")).contents[0]
        prompt = (await client.get_prompt("prompt")).messages[0].content
        return [
            await call(client),
            await call(client, "sync_tool"),
            resource.text,
            prompt.text,
            *await asyncio.gather(*(call(client) for _ in range(3))),
        ]


def app_of(server: FastMCP, transport: str) -> Any:
    return server.sse_app() if transport == "sse" else server.streamable_http_app()


@pytest.mark.parametrize("transport", ["mcp", "sse"])
def test_connected_each_call_has_the_session_of_its_own_request(
    transport: str, serve: Serve, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    server = make_server()
    assert connect(connect(server)) is server
    url = serve(HLSessionMiddleware(app_of(server, transport), manager))
    seen = asyncio.run(everything_read(f"{url}/{transport}"))
    assert len({*seen}) == len(seen) == sessions_api.posts
    assert all(each.startswith("sesh_") for each in seen)


@pytest.mark.parametrize("transport", ["mcp", "sse"])
def test_without_it_all_calls_have_the_session_of_the_first_request(
    transport: str,
    serve: Serve,
    manager: SessionManager,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says so, unless it is that of a stream, which has not ended."""
    monkeypatch.setattr(late_reads, "_once", Once())
    url = serve(HLSessionMiddleware(app_of(make_server(), transport), manager))
    seen = asyncio.run(everything_read(f"{url}/{transport}"))
    assert len({*seen}) == 1
    assert seen[0].startswith("sesh_")
    assert ("code that was started in it" in caplog.text) == (transport == "mcp")


@pytest.mark.parametrize("is_connected", [False, True])
def test_a_stateless_server_needs_no_help(is_connected: bool, serve: Serve, manager: SessionManager) -> None:
    server = make_server(stateless_http=True)
    if is_connected:
        connect(server)
    url = serve(HLSessionMiddleware(server.streamable_http_app(), manager))
    seen = asyncio.run(everything_read(f"{url}/mcp"))
    assert len({*seen}) == len(seen)


def test_the_low_level_server_with_a_tool_that_is_added_later(serve: Serve, manager: SessionManager) -> None:
    server: Server[Any, Any] = connect(Server("test"))
    lifespans: list[str | None] = []

    @server.list_tools()
    async def list_tools() -> list[types.Tool]:
        return [types.Tool(name="tool", inputSchema={"type": "object"})]

    @server.call_tool()
    async def call_tool(name: str, arguments: dict[str, Any]) -> list[types.ContentBlock]:
        return [types.TextContent(type="text", text=str(await acurrent_session_id()))]

    @server.progress_notification()
    async def progress(*_: Any) -> None:
        lifespans.append(await acurrent_session_id())

    sessions = StreamableHTTPSessionManager(server)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with sessions.run():
            yield

    app = Starlette(routes=[Mount("/", sessions.handle_request)], lifespan=lifespan)
    url = serve(HLSessionMiddleware(app, manager))

    async def run() -> list[str]:
        async with connected(f"{url}/") as client:
            await client.send_progress_notification("token", 1)
            return [await call(client) for _ in range(3)]

    assert len({*asyncio.run(run())}) == 3
    assert lifespans == [None]


def test_two_callers_of_one_mcp_session_are_joined_each(serve: Serve, manager: SessionManager) -> None:
    """Not the session of the client that connected."""
    secret = SharedSecret("a secret of many characters")
    server = connect(make_server(json_response=True))
    url = serve(HLSessionMiddleware(server.streamable_http_app(), manager, trust=secret)) + "/mcp"
    headers = {"Accept": "application/json, text/event-stream"}
    client = httpx.Client(headers=headers, trust_env=False, timeout=PATIENCE)
    with propagate(client, hosts=["127.0.0.1"], secret=secret):

        def post(method: str, params: dict[str, Any], **more: Any) -> httpx.Response:
            message = {"jsonrpc": "2.0", "method": method, "params": params, **more}
            return client.post(url, json=message).raise_for_status()

        with manager.session(new=True):
            hello = {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"},
            }
            client.headers["Mcp-Session-Id"] = post("initialize", hello, id=1).headers["Mcp-Session-Id"]
        post("notifications/initialized", {})
        for number in (2, 3):
            with manager.session(new=True) as session:
                answer = post("tools/call", {"name": "tool", "arguments": {}}, id=number).json()
                assert answer["result"]["content"][0]["text"] == session.id


def test_an_mcp_session_is_a_conversation_by_its_header(serve: Serve, manager: SessionManager) -> None:
    server = connect(make_server())
    url = serve(HLSessionMiddleware(server.streamable_http_app(), manager, key=header("Mcp-Session-Id")))
    one, other = ({*asyncio.run(everything_read(f"{url}/mcp"))} for _ in range(2))
    assert len(one) == len(other) == 1
    assert one != other


def test_what_comes_by_no_request_has_none_but_by_the_decorator(manager: SessionManager) -> None:
    """As on stdio; also where the server is run in a scope."""
    server = connect(make_server())

    async def run() -> None:
        with manager.session():
            async with create_connected_server_and_client_session(server) as client:
                assert await call(client) == "None"
                decorated = [await call(client, "decorated_tool", text="x") for _ in range(2)]
                assert len({*decorated} - {"None"}) == 2
                (schema,) = [
                    tool.inputSchema
                    for tool in (await client.list_tools()).tools
                    if tool.name == "decorated_tool"
                ]
                assert list(schema["properties"]) == ["text"]

    asyncio.run(run())


def test_a_handler_that_the_application_calls_has_the_session_of_its_caller(manager: SessionManager) -> None:
    """Tests of servers do so."""
    server = connect(make_server())._mcp_server
    call_tool = server.request_handlers[types.CallToolRequest]
    params = types.CallToolRequestParams(name="tool")

    async def run() -> None:
        async with manager.session() as session:
            result = await call_tool(types.CallToolRequest(method="tools/call", params=params))
            assert result.root.content[0].text == await session.aid()

    asyncio.run(run())


def test_a_client_sends_the_session_in_which_it_was_connected(serve: Serve, manager: SessionManager) -> None:
    """For every caller: so an interaction needs its own client, or mcp 2."""
    secret = SharedSecret("a secret of many characters")
    server = connect(make_server())
    url = serve(HLSessionMiddleware(server.streamable_http_app(), manager, trust=secret)) + "/mcp"

    async def run() -> None:
        http_client = httpx.AsyncClient(trust_env=False, timeout=PATIENCE)
        propagate(http_client, hosts=["127.0.0.1"], secret=secret)
        async with (
            manager.session() as outer,
            streamable_http_client(url, http_client=http_client) as (read, write, _),
            ClientSession(read, write) as client,
        ):
            await client.initialize()
            async with manager.session(new=True):
                assert await call(client) == outer.id

    asyncio.run(run())


def test_another_server_is_refused() -> None:
    with pytest.raises(TypeError, match="not an MCP server of mcp or fastmcp: <object object"):
        connect(object())


def test_what_the_guide_shows(serve: Serve, manager: SessionManager) -> None:
    url = serve(run_block("agents.md", "MCP servers on mcp 1")["app"])

    async def run() -> list[str]:
        async with connected(f"{url}/mcp") as client:
            return [await call(client, "search", question="Why?") for _ in range(2)]

    assert len({*asyncio.run(run())}) == 2
