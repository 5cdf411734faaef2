"""LlamaIndex and its workflows."""

# /// script
# dependencies = ["llama-index-core==0.14.25", "llama-index-workflows==2.26.1"]
# ///

import asyncio

from llama_index.core.llms import ChatMessage, MockLLM
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from hl_sessions import SessionManager, acurrent_session_id, current_session_id


class Read(Event):
    seen: list[str | None]


class Reads(Workflow):
    @step
    async def begin(self, context: Context, event: StartEvent) -> Read:
        return Read(seen=[await acurrent_session_id()])

    @step
    def end(self, event: Read) -> StopEvent:
        return StopEvent(result=[*event.seen, current_session_id()])


def test_two_runs_of_a_workflow_that_are_awaited_outside(manager: SessionManager) -> None:
    async def run() -> None:
        workflow, started = Reads(), []
        for _ in range(2):
            async with manager.session() as session:
                started.append((workflow.run(), await session.aid()))
        for handler, session_id in started:
            assert await handler == [session_id] * 2

    asyncio.run(run())


def test_a_model(manager: SessionManager) -> None:
    seen: list[str | None] = []

    class Model(MockLLM):
        def _generate_text(self, length: int) -> str:
            seen.append(current_session_id())
            return super()._generate_text(length)

    with manager.session() as session:
        list(Model(max_tokens=2).stream_chat([ChatMessage("Why?")]))
        asyncio.run(Model(max_tokens=2).achat([ChatMessage("Why?")]))
    assert {*seen} == {session.id}
