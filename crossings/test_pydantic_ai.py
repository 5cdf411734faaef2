"""Pydantic AI."""

# /// script
# dependencies = ["pydantic-ai-slim==2.68.0", "opentelemetry-sdk"]
# ///

import asyncio

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.test import TestModel

from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from tests.pages import run_block
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


def test_the_session_is_the_conversation_of_a_run(manager: SessionManager) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traced = Instrumentation(InstrumentationSettings(tracer_provider=provider))
    answer = run_block("logs-and-traces.md", "Pydantic AI")["answer"]

    async def ask(name: str) -> str | None:
        async with manager.session() as session:
            await answer(Agent(TestModel(), name=name, capabilities=[traced]), "Why?")
            return await session.aid()

    async def main() -> list[str | None]:
        ids = await asyncio.gather(ask("a"), ask("b"))
        assert await answer(Agent(TestModel()), "Why?")
        return [*ids]

    ids = asyncio.run(main())
    conversations = {
        span.attributes["gen_ai.agent.name"]: span.attributes["gen_ai.conversation.id"]
        for span in exporter.get_finished_spans()
        if span.attributes and span.name.startswith("invoke_agent")
    }
    assert [conversations["a"], conversations["b"]] == ids
