"""Strands Agents."""

# /// script
# dependencies = ["strands-agents==1.62.0"]
# ///

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from strands import Agent, tool
from strands.models.model import Model
from strands.tools.executors import ConcurrentToolExecutor, SequentialToolExecutor

from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from tests.sessions_api import SessionsAPI


class FakeModel(Model):
    """Calls both tools, then is done."""

    def update_config(self, **_: Any) -> None: ...

    def get_config(self) -> dict[str, Any]:
        return {}

    def structured_output(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def stream(self, messages: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:
        is_done = any("toolResult" in content for message in messages for content in message["content"])
        yield {"messageStart": {"role": "assistant"}}
        if is_done:
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": "done"}}}
            yield {"contentBlockStop": {}}
        else:
            for name in ("sync_tool", "async_tool"):
                yield {"contentBlockStart": {"start": {"toolUse": {"name": name, "toolUseId": name}}}}
                yield {"contentBlockDelta": {"delta": {"toolUse": {"input": "{}"}}}}
                yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn" if is_done else "tool_use"}}


@pytest.mark.parametrize("executor", [ConcurrentToolExecutor, SequentialToolExecutor])
def test_tools(executor: Any, manager: SessionManager, sessions_api: SessionsAPI) -> None:
    seen: list[str | None] = []

    @tool
    def sync_tool() -> str:
        """Read."""
        seen.append(current_session_id())
        return "x"

    @tool
    async def async_tool() -> str:
        """Read."""
        seen.append(await acurrent_session_id())
        return "x"

    def agent() -> Agent:
        return Agent(
            FakeModel(), tools=[sync_tool, async_tool], tool_executor=executor(), callback_handler=None
        )

    async def streamed() -> None:
        async for _ in agent().stream_async("Why?"):
            pass

    with manager.session() as session:
        agent()("Why?")
        asyncio.run(agent().invoke_async("Why?"))
        asyncio.run(streamed())
        by_hand = agent()
        by_hand.tool.sync_tool()
    assert seen == [session.id] * 7
    assert sessions_api.posts == 1
