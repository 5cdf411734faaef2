"""Pydantic AI."""

# /// script
# dependencies = ["pydantic-ai-slim==2.68.0"]
# ///

import asyncio

from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from tests.sessions_api import SessionsAPI


def make_agent(seen: list[str | None]) -> Agent[None, str]:
    agent = Agent(TestModel(), output_type=str)

    @agent.tool_plain
    def sync_tool() -> str:
        seen.append(current_session_id())
        return "x"

    @agent.tool_plain
    async def async_tool() -> str:
        seen.append(await acurrent_session_id())
        return "x"

    @agent.instructions
    def instructions() -> str:
        seen.append(current_session_id())
        return "x"

    return agent


def test_runs_of_all_kinds(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    seen: list[str | None] = []
    agent = make_agent(seen)

    async def run() -> None:
        await agent.run("Why?")
        async with agent.run_stream("Why?") as stream:
            await stream.get_output()
        async with agent.iter("Why?") as steps:
            async for _ in steps:
                pass

    with manager.session() as session:
        agent.run_sync("Why?")
        asyncio.run(run())
    assert len(seen) >= 12
    assert {*seen} == {session.id}
    assert sessions_api.posts == 1


def test_two_runs_in_two_scopes(manager: SessionManager) -> None:
    seen: list[str | None] = []
    agent = make_agent(seen)
    ids = []
    for _ in range(2):
        with manager.session() as session:
            agent.run_sync("Why?")
            ids.append(session.id)
    assert list(dict.fromkeys(seen)) == ids
