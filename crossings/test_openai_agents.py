"""The Agents SDK of OpenAI."""

# /// script
# dependencies = ["openai-agents==0.24.0"]
# ///

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from agents import (
    Agent,
    AgentHooks,
    GuardrailFunctionOutput,
    ModelResponse,
    Runner,
    Usage,
    function_tool,
    input_guardrail,
    set_trace_processors,
)
from agents.models.interface import Model
from agents.tracing import TracingProcessor
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from tests.pages import run_block
from tests.sessions_api import SessionsAPI

Seen = list[str | None]


def _given(system_instructions: Any, input: Any, *_: Any, **__: Any) -> Any:  # noqa: A002 - it is called so
    return input


class FakeModel(Model):
    """Calls both tools, then is done."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def _output(self, given: Any) -> list[Any]:
        if any(isinstance(item, dict) and item.get("type") == "function_call_output" for item in given):
            text = ResponseOutputText(type="output_text", text="done", annotations=[])
            return [
                ResponseOutputMessage(
                    id="1", type="message", role="assistant", status="completed", content=[text]
                )
            ]
        return [
            ResponseFunctionToolCall(type="function_call", call_id=name, name=name, arguments="{}")
            for name in ("sync_tool", "async_tool")
        ]

    async def get_response(self, *args: Any, **options: Any) -> ModelResponse:
        self.seen.append(await acurrent_session_id())
        return ModelResponse(output=self._output(_given(*args, **options)), usage=Usage(), response_id=None)

    async def stream_response(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        self.seen.append(await acurrent_session_id())
        response = Response(
            id="1",
            created_at=0,
            model="fake",
            object="response",
            output=self._output(_given(*args, **options)),
            parallel_tool_calls=True,
            tool_choice="auto",
            tools=[],
        )
        yield ResponseCompletedEvent(type="response.completed", response=response, sequence_number=0)


class Processor(TracingProcessor):
    def __init__(self) -> None:
        self.seen: Seen = []
        self.groups: Seen = []

    def on_trace_start(self, trace: Any) -> None:
        self.seen.append(current_session_id())
        self.groups.append(trace.export()["group_id"])

    def on_trace_end(self, trace: Any) -> None:
        self.seen.append(current_session_id())

    def on_span_start(self, span: Any) -> None:
        self.seen.append(current_session_id())

    def on_span_end(self, span: Any) -> None:
        self.seen.append(current_session_id())

    def shutdown(self) -> None: ...

    def force_flush(self) -> None: ...


@pytest.fixture
def processor() -> Iterator[Processor]:
    processor = Processor()
    set_trace_processors([processor])
    yield processor
    set_trace_processors([])


def make_agent(seen: Seen) -> Agent[Any]:
    @function_tool
    def sync_tool() -> str:
        seen.append(current_session_id())
        return "x"

    @function_tool
    async def async_tool() -> str:
        seen.append(await acurrent_session_id())
        return "x"

    @input_guardrail
    async def guardrail(*_: Any) -> GuardrailFunctionOutput:
        seen.append(await acurrent_session_id())
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=False)

    class Hooks(AgentHooks[Any]):
        async def on_tool_end(self, *_: Any) -> None:
            seen.append(await acurrent_session_id())

    return Agent(
        "test",
        tools=[sync_tool, async_tool],
        model=FakeModel(seen),
        input_guardrails=[guardrail],
        hooks=Hooks(),
    )


def test_runs(manager: SessionManager, sessions_api: SessionsAPI, processor: Processor) -> None:
    """The model twice, two tools with their hooks, and the guardrail, twice; and what traces them."""
    seen: Seen = []
    with manager.session() as session:
        Runner.run_sync(make_agent(seen), "Why?")
        asyncio.run(Runner.run(make_agent(seen), "Why?"))
    assert seen == [session.id] * 14
    assert {*processor.seen} == {session.id}
    assert sessions_api.posts == 1


def test_a_streamed_run_keeps_the_session_in_which_it_began(
    manager: SessionManager, processor: Processor
) -> None:
    seen: Seen = []

    async def run() -> str | None:
        async with manager.session() as session:
            result = Runner.run_streamed(make_agent(seen), "Why?")
        async with manager.session():
            async for _ in result.stream_events():
                pass
        return await session.aid()

    session_id = asyncio.run(run())
    assert seen == [session_id] * 7


def test_the_session_is_the_group_of_the_traces(manager: SessionManager, processor: Processor) -> None:
    answer = run_block("logs-and-traces.md", "OpenAI Agents SDK")["answer"]

    async def ask() -> str | None:
        async with manager.session() as session:
            assert await answer(make_agent([]), "Why?") == "done"
            return await session.aid()

    async def main() -> Seen:
        ids = await asyncio.gather(ask(), ask())
        await answer(make_agent([]), "Why?")
        return [*ids, None]

    ids = asyncio.run(main())
    assert len(processor.groups) == 3
    assert {*processor.groups} == {*ids}
