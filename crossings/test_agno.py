"""Agno."""

# /// script
# dependencies = ["agno==3.1.10"]
# ///

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from agno.agent import Agent
from agno.models.base import Model
from agno.models.response import ModelResponse

from hl_sessions import SessionManager, acurrent_session_id, current_session_id


class FakeModel(Model):
    """Calls both tools, then is done."""

    def __init__(self) -> None:
        super().__init__(id="fake")

    def _response(self, messages: Any) -> ModelResponse:
        if any(message.role == "tool" for message in messages):
            return ModelResponse(role="assistant", content="done")
        calls = [
            {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}
            for name in ("sync_tool", "async_tool")
        ]
        return ModelResponse(role="assistant", tool_calls=calls)

    def invoke(self, messages: Any, *_: Any, **__: Any) -> ModelResponse:
        return self._response(messages)

    async def ainvoke(self, messages: Any, *_: Any, **__: Any) -> ModelResponse:
        return self._response(messages)

    def invoke_stream(self, messages: Any, *_: Any, **__: Any) -> Iterator[ModelResponse]:
        yield self._response(messages)

    async def ainvoke_stream(self, messages: Any, *_: Any, **__: Any) -> AsyncIterator[ModelResponse]:
        yield self._response(messages)

    def _parse_provider_response(self, response: Any, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response


def test_tools(manager: SessionManager) -> None:
    seen: list[str | None] = []

    def sync_tool() -> str:
        """Read."""
        seen.append(current_session_id())
        return "x"

    async def async_tool() -> str:
        """Read."""
        seen.append(await acurrent_session_id())
        return "x"

    with manager.session() as session:
        Agent(model=FakeModel(), tools=[sync_tool]).run("Why?")
        asyncio.run(Agent(model=FakeModel(), tools=[sync_tool, async_tool]).arun("Why?"))
        for _ in Agent(model=FakeModel(), tools=[sync_tool]).run("Why?", stream=True):
            pass
    assert {*seen} == {session.id}
    assert len(seen) >= 4
