"""Mirascope."""

# /// script
# dependencies = ["mirascope[openai]==2.8.2"]
# ///

import asyncio
from typing import Any

from mirascope import llm

from hl_sessions import SessionManager, acurrent_session_id, current_session_id


def test_tools(manager: SessionManager, openai_url: str) -> None:
    llm.register_provider("openai:completions", "openai/", base_url=openai_url, api_key="none")

    @llm.tool
    def sync_tool() -> str:
        """Read."""
        return str(current_session_id())

    @llm.tool
    async def async_tool() -> str:
        """Read."""
        return str(await acurrent_session_id())

    @llm.call("openai/gpt-4o:completions", tools=[sync_tool])
    def ask() -> str:
        return "Why?"

    @llm.call("openai/gpt-4o:completions", tools=[async_tool])
    async def ask_async() -> str:
        return "Why?"

    async def read() -> Any:
        response = await ask_async()
        return await response.execute_tools()

    with manager.session() as session:
        outputs = [*ask().execute_tools(), *asyncio.run(read())]
    assert [output.result for output in outputs] == [session.id] * 2
