"""AutoGen."""

# /// script
# dependencies = ["autogen-core==0.7.5", "autogen-agentchat==0.7.5"]
# ///

import asyncio
from dataclasses import dataclass

from autogen_core import (
    AgentId,
    CancellationToken,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    message_handler,
)
from autogen_core.tools import FunctionTool

from hl_sessions import SessionManager, acurrent_session_id, bind, current_session_id
from tests.pages import run_block


@dataclass
class Message:
    text: str


class Agent(RoutedAgent):
    @message_handler
    async def on_message(self, message: Message, _: MessageContext) -> Message:
        return Message(str(await acurrent_session_id()))


def read() -> str:
    return str(current_session_id())


async def aread() -> str:
    return str(await acurrent_session_id())


async def sent(runtime: SingleThreadedAgentRuntime) -> str:
    answer: Message = await runtime.send_message(Message("Why?"), AgentId("agent", "default"))
    return answer.text


def test_a_runtime_keeps_the_session_in_which_it_was_started(manager: SessionManager) -> None:
    async def run() -> None:
        runtime = SingleThreadedAgentRuntime()
        await Agent.register(runtime, "agent", lambda: Agent("agent"))
        async with manager.session() as first:
            runtime.start()
        async with manager.session():
            assert await sent(runtime) == await first.aid()
        await runtime.stop()

    asyncio.run(run())


def test_started_in_none_it_has_none(manager: SessionManager) -> None:
    async def run() -> None:
        async with manager.session():
            runtime = run_block("agents.md", "AutoGen")["start_runtime"]()
            await Agent.register(runtime, "agent", lambda: Agent("agent"))
            assert await sent(runtime) == "None"
        await runtime.stop()

    asyncio.run(run())


def test_tools(manager: SessionManager) -> None:
    async def run() -> None:
        async with manager.session() as session:
            session_id = await session.aid()
            tools = [FunctionTool(function, "Read.") for function in (read, aread, bind(read))]
            assert [await tool.run_json({}, CancellationToken()) for tool in tools] == [
                "None",
                session_id,
                session_id,
            ]

    asyncio.run(run())


def test_messages_that_carry_it(manager: SessionManager) -> None:
    block = run_block("agents.md", "Messages that carry the session")

    async def run() -> None:
        runtime = SingleThreadedAgentRuntime()
        await block["Agent"].register(runtime, "agent", lambda: block["Agent"]("agent"))
        runtime.start()
        for _ in range(2):
            async with manager.session() as session:
                question = block["Question"]("Why?", await block["acarry"]())
                answer = await runtime.send_message(question, AgentId("agent", "default"))
                assert answer.text == await session.aid()
        await runtime.stop()

    asyncio.run(run())
