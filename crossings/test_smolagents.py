"""smolagents."""

# /// script
# dependencies = ["smolagents==1.26.0"]
# ///

from typing import Any

from smolagents import ChatMessage, CodeAgent, MessageRole, ToolCallingAgent, tool
from smolagents.models import ChatMessageToolCall, ChatMessageToolCallFunction, Model

from hl_sessions import SessionManager, bind, current_session_id
from tests.pages import run_block


def make_tool(seen: list[str | None]) -> Any:
    @tool
    def look_up() -> str:
        """Look up."""
        seen.append(current_session_id())
        return "x"

    return look_up


class WritingModel(Model):
    def generate(self, *_: Any, **__: Any) -> ChatMessage:
        code = "Thought: none\n<code>\nlook_up()\nfinal_answer('done')\n</code>"
        return ChatMessage(role=MessageRole.ASSISTANT, content=code)


class CallingModel(Model):
    def __init__(self) -> None:
        super().__init__()
        self.answers = iter([["look_up", "look_up"], ["final_answer"]])

    def generate(self, *_: Any, **__: Any) -> ChatMessage:
        calls = [
            ChatMessageToolCall(
                id=str(number),
                type="function",
                function=ChatMessageToolCallFunction(
                    name=name, arguments={"answer": "done"} if name == "final_answer" else {}
                ),
            )
            for number, name in enumerate(next(self.answers))
        ]
        return ChatMessage(role=MessageRole.ASSISTANT, content="", tool_calls=calls)


def test_the_tools_of_a_tool_calling_agent(manager: SessionManager) -> None:
    seen: list[str | None] = []
    agent = ToolCallingAgent([make_tool(seen)], CallingModel())
    with manager.session() as session:
        agent.run("Why?")
    assert seen == [session.id] * 2


def test_the_tools_of_a_code_agent_have_none(manager: SessionManager) -> None:
    seen: list[str | None] = []
    with manager.session():
        CodeAgent([make_tool(seen)], WritingModel()).run("Why?")
    assert seen == [None]


def test_they_have_it_without_a_time_limit_or_bound(manager: SessionManager) -> None:
    seen: list[str | None] = []
    look_up = make_tool(seen)
    with manager.session() as session:
        make_agent = run_block("agents.md", "smolagents")["make_agent"]
        make_agent([make_tool(seen)], WritingModel()).run("Why?")
        look_up.forward = bind(look_up.forward)
        CodeAgent([look_up], WritingModel()).run("Why?")
    assert seen == [session.id] * 2
