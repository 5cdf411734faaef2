"""LangChain and LangGraph."""

# /// script
# dependencies = ["langchain-core==1.8.3", "langchain==1.5.2", "langgraph==1.2.24"]
# ///

import asyncio
import operator
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph

from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from tests.pages import run_block
from tests.sessions_api import SessionsAPI, fail


def read(_: Any = None) -> str | None:
    return current_session_id()


async def aread(_: Any = None) -> str | None:
    return await acurrent_session_id()


class Handler(BaseCallbackHandler):
    def __init__(self, seen: list[str | None]) -> None:
        self.seen = seen

    def on_chain_start(self, *_: Any, **__: Any) -> None:
        self.seen.append(current_session_id())


class AsyncHandler(AsyncCallbackHandler):
    def __init__(self, seen: list[str | None]) -> None:
        self.seen = seen

    async def on_chain_start(self, *_: Any, **__: Any) -> None:
        self.seen.append(await acurrent_session_id())


def test_runnables_in_parallel_batches_and_streams(
    manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    parallel = RunnableParallel(a=RunnableLambda(read), b=RunnableLambda(read))
    mixed = RunnableParallel(a=RunnableLambda(read), b=RunnableLambda(aread))
    with manager.session() as session:
        both = {"a": session.id, "b": session.id}
        assert parallel.invoke(None) == both
        assert parallel.batch([1, 2]) == [both, both]
        assert asyncio.run(mixed.ainvoke(None)) == both
        assert asyncio.run(mixed.abatch([1, 2])) == [both, both]
        assert {value for chunk in parallel.stream(None) for value in chunk.values()} == {session.id}
    assert sessions_api.posts == 1


def test_callback_handlers(manager: SessionManager) -> None:
    seen: list[str | None] = []
    chain = RunnableLambda(read)
    with manager.session() as session:
        chain.invoke(None, {"callbacks": [Handler(seen)]})
        asyncio.run(chain.ainvoke(None, {"callbacks": [Handler(seen), AsyncHandler(seen)]}))
    assert seen == [session.id] * 3


def test_the_tools_of_an_agent(manager: SessionManager) -> None:
    seen: list[str | None] = []

    @tool
    def look_up(text: str) -> str:
        """Look up."""
        seen.append(current_session_id())
        return text

    class Model(GenericFakeChatModel):
        def bind_tools(self, *_: Any, **__: Any) -> Any:
            return self

    def agent() -> Any:
        calls = [{"name": "look_up", "args": {"text": "x"}, "id": str(number)} for number in range(2)]
        messages = iter([AIMessage("", tool_calls=calls), AIMessage("done")])
        return create_agent(Model(messages=messages), [look_up])

    question = {"messages": [("user", "Why?")]}
    with manager.session() as session:
        agent().invoke(question)
        asyncio.run(agent().ainvoke(question))
    assert seen == [session.id] * 4


class State(TypedDict):
    seen: Annotated[list[str | None], operator.add]


def graph_of(*nodes: Any, checkpointer: Any = None) -> Any:
    graph = StateGraph(State)
    for number, node in enumerate(nodes):
        graph.add_node(str(number), node)
        graph.add_edge(START, str(number))
        graph.add_edge(str(number), END)
    return graph.compile(checkpointer=checkpointer)


def node(_: State) -> dict[str, Any]:
    return {"seen": [current_session_id()]}


async def async_node(_: State) -> dict[str, Any]:
    return {"seen": [await acurrent_session_id()]}


def test_nodes_of_a_graph(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    async def streamed() -> list[Any]:
        return [chunk async for chunk in graph_of(async_node, async_node).astream({"seen": []})]

    with manager.session() as session:
        assert graph_of(node, node).invoke({"seen": []}) == {"seen": [session.id] * 2}
        assert asyncio.run(graph_of(node, async_node).ainvoke({"seen": []})) == {"seen": [session.id] * 2}
        chunks = asyncio.run(streamed())
        assert [update["seen"] for chunk in chunks for update in chunk.values()] == [[session.id]] * 2
    assert sessions_api.posts == 1


def test_tasks_and_entrypoints(manager: SessionManager) -> None:
    read_task = task(read)

    @entrypoint()
    def workflow(_: Any) -> list[str | None]:
        return [read_task(1).result(), current_session_id()]

    @entrypoint()
    async def async_workflow(_: Any) -> list[str | None]:
        return [await task(aread)(1), await read_task(1)]

    with manager.session() as session:
        assert workflow.invoke("Why?") == [session.id] * 2
        assert asyncio.run(async_workflow.ainvoke("Why?")) == [session.id] * 2


def test_a_stream_runs_where_it_is_consumed(manager: SessionManager) -> None:
    with manager.session():
        stream = graph_of(node).stream({"seen": []})
    assert next(stream) == {"0": {"seen": [None]}}


def test_a_conversation_is_a_thread(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """A new one begins after its end, no two users share one, and the API may be down."""
    sessions_api.answer = fail()

    def thread(state: State, config: RunnableConfig) -> dict[str, Any]:
        return {"seen": [config["metadata"]["thread_id"]]}  # whence LangSmith has it

    graph = graph_of(thread, checkpointer=InMemorySaver())
    answer = run_block("logs-and-traces.md", "LangGraph")["answer"]

    def remembered(key: str | None) -> int:
        with manager.session(key=key) as session:
            seen = answer(graph, {"seen": []})["seen"]
            assert {*seen} == {session.reference_id}
            return len(seen)

    assert [remembered(key) for key in ("a", "a", "b", None, None)] == [1, 2, 1, 1, 1]
    assert [len(answer(graph, {"seen": []})["seen"]) for _ in range(2)] == [1, 1]
    manager.end("a")
    assert remembered("a") == 1
