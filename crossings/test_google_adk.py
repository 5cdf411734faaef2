"""The Agent Development Kit of Google."""

# /// script
# dependencies = ["google-adk==2.13.0"]
# ///

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import InMemoryRunner
from google.genai import types

from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from tests.sessions_api import SessionsAPI


class FakeModel(BaseLlm):
    """Calls both tools, then is done."""

    async def generate_content_async(self, request: Any, *_: Any, **__: Any) -> AsyncIterator[LlmResponse]:
        is_done = any(part.function_response for content in request.contents for part in content.parts)
        parts = [types.Part(text="done")]
        if not is_done:
            names = ("sync_tool", "async_tool")
            parts = [types.Part(function_call=types.FunctionCall(name=name, args={})) for name in names]
        yield LlmResponse(content=types.Content(role="model", parts=parts))


def test_tools(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """Of a run that is awaited, and of one in a thread of ADK's own."""
    seen: list[str | None] = []

    def sync_tool() -> str:
        """Read."""
        seen.append(current_session_id())
        return "x"

    async def async_tool() -> str:
        """Read."""
        seen.append(await acurrent_session_id())
        return "x"

    agent = LlmAgent(name="test", model=FakeModel(model="fake"), tools=[sync_tool, async_tool])
    runner = InMemoryRunner(agent, app_name="test")

    def question() -> dict[str, Any]:
        chat = asyncio.run(runner.session_service.create_session(app_name="test", user_id="user"))
        content = types.Content(role="user", parts=[types.Part(text="Why?")])
        return {"user_id": "user", "session_id": chat.id, "new_message": content}

    async def run(question: dict[str, Any]) -> None:
        async for _ in runner.run_async(**question):
            pass

    with manager.session() as session:
        asyncio.run(run(question()))
        list(runner.run(**question()))
    assert seen == [session.id] * 4
    assert sessions_api.posts == 1
