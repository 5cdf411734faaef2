"""CrewAI."""

# /// script
# dependencies = ["crewai==1.15.30"]
# ///

import asyncio
from typing import Any

import pytest
from crewai import LLM, Agent, Crew, Task
from crewai.events import CrewKickoffCompletedEvent, crewai_event_bus
from crewai.flow.flow import Flow, listen, start
from crewai.tools import tool

from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from tests.sessions_api import SessionsAPI
from tests.waiting import wait_until

Seen = list[str | None]


def make_crew(seen: Seen, url: str, **options: Any) -> Crew:
    """A tool and a callback."""

    @tool
    def read() -> str:
        """Read."""
        seen.append(current_session_id())
        return "x"

    def on_end(output: Any) -> None:
        seen.append(current_session_id())

    agent = Agent(
        role="reader",
        goal="to read",
        backstory="Reads.",
        llm=LLM(model="openai/gpt-4o", base_url=url, api_key="none"),
        tools=[read],
    )
    task = Task(description="Why?", expected_output="x", agent=agent, callback=on_end, **options)
    return Crew(agents=[agent], tasks=[task])


@pytest.mark.parametrize("is_async", [False, True])
def test_tools_and_callbacks(
    is_async: bool, manager: SessionManager, openai_url: str, sessions_api: SessionsAPI
) -> None:
    seen: Seen = []
    crew = make_crew(seen, openai_url, async_execution=is_async)
    with manager.session() as session:
        crew.kickoff()
        asyncio.run(crew.kickoff_async())
        asyncio.run(crew.akickoff())
        crew.kickoff_for_each([{}, {}])
    assert seen == [session.id] * 10
    assert sessions_api.posts == 1


def test_flows(manager: SessionManager) -> None:
    seen: Seen = []

    class Reads(Flow[Any]):
        @start()
        async def first(self) -> None:
            seen.append(await acurrent_session_id())

        @listen(first)
        def second(self) -> None:
            seen.append(current_session_id())

    with manager.session() as session:
        Reads().kickoff()
        asyncio.run(Reads().kickoff_async())
    assert seen == [session.id] * 4


def test_event_listeners(manager: SessionManager, openai_url: str) -> None:
    """Plain functions are called in threads."""
    seen: Seen = []
    with crewai_event_bus.scoped_handlers():

        @crewai_event_bus.on(CrewKickoffCompletedEvent)
        def on_end(source: Any, event: Any) -> None:
            seen.append(current_session_id())

        @crewai_event_bus.on(CrewKickoffCompletedEvent)
        async def on_end_async(source: Any, event: Any) -> None:
            seen.append(await acurrent_session_id())

        with manager.session() as session:
            make_crew([], openai_url).kickoff()
            wait_until(lambda: len(seen) == 2)
    assert seen == [session.id] * 2
