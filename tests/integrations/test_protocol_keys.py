"""The conversation keys of the page on agents, on requests as the clients of each protocol send them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from hl_sessions import SessionManager, acurrent_session_id
from hl_sessions.integrations import keys
from hl_sessions.integrations.asgi import HLSessionMiddleware

AGENTS = (Path(__file__).parent.parent.parent / "docs" / "agents.md").read_text()
ROWS = dict(re.findall(r"^\| ([^|]+) \| `([a-z_]+\(.*?\))` \|", AGENTS, re.MULTILINE))

A2A_MESSAGE = {
    "message": {
        "messageId": "1",
        "contextId": "chat-42",
        "role": "ROLE_USER",
        "parts": [{"text": "Why?"}],
    },
    "configuration": {},
}
A2A_CALL = {"method": "SendMessage", "params": A2A_MESSAGE, "id": "9010e09b", "jsonrpc": "2.0"}
MCP_CALL = {"method": "tools/call", "params": {"name": "search", "arguments": {}}, "id": 1, "jsonrpc": "2.0"}
RUN_OF_AG_UI = {
    "threadId": "chat-42",
    "runId": "run-1",
    "state": {},
    "messages": [{"id": "1", "role": "user", "content": "Why?"}],
    "tools": [],
    "context": [],
    "forwardedProps": {},
}
CHAT_OF_VERCEL = {
    "id": "chat-42",
    "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "Why?"}]}],
    "trigger": "submit-message",
}
CONTENT = {"parts": [{"text": "Why?"}], "role": "user"}
RUN_OF_ADK = {"appName": "app", "userId": "u", "sessionId": "chat-42", "newMessage": CONTENT}
SNAKY_RUN_OF_ADK = {"app_name": "app", "user_id": "u", "session_id": "chat-42", "new_message": CONTENT}
RUN_OF_LANGGRAPH = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": "Why?"}]}}

# The row of the table, a path, headers and a body, as the clients make them for a conversation "chat-42".
REQUESTS: list[tuple[str, str, dict[str, str], Any]] = [
    ("MCP up to 2025-11-25", "/mcp", {"Mcp-Session-Id": "chat-42"}, MCP_CALL),
    ("A2A 1.0", "/", {"A2A-Version": "1.0"}, A2A_CALL),
    ("A2A 1.0", "/message:send", {"A2A-Version": "1.0"}, A2A_MESSAGE),
    ("AG-UI", "/", {}, RUN_OF_AG_UI),
    ("Vercel AI SDK", "/api/chat", {}, CHAT_OF_VERCEL),
    ("Vercel AI SDK", "/api/chat/chat-42/stream", {}, None),
    ("LangGraph's server", "/threads/chat-42/runs/stream", {}, RUN_OF_LANGGRAPH),
    ("Google ADK", "/run_sse", {}, RUN_OF_ADK),
    ("Google ADK", "/run_sse", {}, SNAKY_RUN_OF_ADK),
    (
        "Bedrock AgentCore",
        "/invocations",
        {"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": "chat-42"},
        {"prompt": "Why?"},
    ),
    ("Pydantic AI, Mistral", "/", {"baggage": "gen_ai.conversation.id=chat-42,other=1"}, {"text": "Why?"}),
]


async def agent(request: Request) -> PlainTextResponse:
    body = await request.body()
    return PlainTextResponse(f"{await acurrent_session_id()} {body.decode()}")


@pytest.fixture
def client(request: pytest.FixtureRequest, manager: SessionManager) -> Iterator[TestClient]:
    paths = ["/api/chat/{chat}/stream", "/threads/{thread_id}/runs/stream", "/{path:path}"]
    app = Starlette(routes=[Route(path, agent, methods=["GET", "POST"]) for path in paths])
    key = eval(ROWS[request.param], vars(keys))
    with TestClient(HLSessionMiddleware(app, manager, key=key)) as client:
        yield client


@pytest.mark.parametrize(("client", "path", "headers", "body"), REQUESTS, indirect=["client"])
def test_the_conversation_of_a_client_is_one_session(
    client: TestClient, path: str, headers: dict[str, str], body: Any
) -> None:
    """The agent gets the body as it was."""

    def ask(chat: str) -> str:
        sent = "" if body is None else json.dumps(body).replace("chat-42", chat)
        answer = client.request(
            "POST" if sent else "GET",
            path.replace("chat-42", chat),
            headers={name: value.replace("chat-42", chat) for name, value in headers.items()}
            | {"Content-Type": "application/json"},
            content=sent,
        )
        session, _, received = answer.text.partition(" ")
        assert received == sent
        return session

    one, again, other = ask("chat-42"), ask("chat-42"), ask("chat-43")
    assert one == again != other


def test_each_protocol_of_the_table_has_a_request() -> None:
    assert {row for row, *_ in REQUESTS} == {*ROWS}
