"""The lines of the page on logs and traces that put the session into calls of OpenAI and Anthropic."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hl_sessions import SessionManager, current_session_id
from hl_sessions.process.event_loop import is_event_loop_running
from hl_sessions.stores import SQLiteStore
from tests.pages import run_block
from tests.sessions_api import Answer, Request, SessionsAPI, create_sessions, fail

pytest.importorskip("openai")
pytest.importorskip("anthropic")

import anthropic
import openai

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1741476542,
    "model": "gpt-6-astra",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "because", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [{"type": "text", "text": "because"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


class Models:
    """A server of models, which records what it is asked."""

    def __init__(self) -> None:
        self._api = SessionsAPI()
        self._api.answer = lambda request: Answer(body=MESSAGE if "messages" in request.target else RESPONSE)
        self.url = self._api.base_url
        self.close = self._api.close

    def asked(self) -> dict[str, dict[str, Any]]:
        """Return the bodies of all calls by their question."""
        bodies = [json.loads(request.body) for request in self._api.requests]
        return {str(body.get("input") or body["messages"][0]["content"]): body for body in bodies}


@pytest.fixture
def models() -> Iterator[Models]:
    models = Models()
    yield models
    models.close()


def answer(models: Models, question: str) -> str:
    """What the block asks OpenAI."""
    with openai.OpenAI(api_key="x", base_url=models.url) as client:
        text: str = run_block("logs-and-traces.md", "OpenAI")["answer"](client, question)
        return text


async def aanswer(models: Models, question: str) -> str:
    """What the async one asks."""
    async with openai.AsyncOpenAI(api_key="x", base_url=models.url) as client:
        text: str = await run_block("logs-and-traces.md", "OpenAI in async code")["answer"](client, question)
        return text


Ask = Callable[[Models, str], str]
both = pytest.mark.parametrize(
    "ask", [answer, lambda *question: asyncio.run(aanswer(*question))], ids=["sync", "async"]
)


@both
def test_openai_is_told_the_session_and_the_cache_of_the_conversation(
    manager: SessionManager, models: Models, ask: Ask
) -> None:
    """The key of the cache is that of no other conversation, nor is it the conversation's own key."""
    ids = []
    for question, key in (("a", "chat-1"), ("b", "chat-1"), ("c", "chat-2")):
        with manager.session(key=key) as session:
            ask(models, question)
            ids.append(session.id)
            if question == "b":
                session.end()
    with manager.session(key="chat-1"):
        ask(models, "d")
    with manager.session() as session:
        ask(models, "e")
        ids.append(session.id)
    ask(models, "f")
    asked = models.asked()
    assert [asked[question]["metadata"]["session_id"] for question in "abce"] == ids
    caches = [asked[question]["prompt_cache_key"] for question in "abcd"]
    assert caches[0] == caches[1] == caches[3] != caches[2]
    assert all(len(cache) <= 64 and "chat" not in cache for cache in caches)
    assert "prompt_cache_key" not in asked["e"]
    assert not {"metadata", "prompt_cache_key"} & {*asked["f"]}


@both
def test_openai_is_told_the_reference_id_while_the_api_is_down(
    sessions_api: SessionsAPI, manager: SessionManager, models: Models, ask: Ask
) -> None:
    sessions_api.answer = fail()
    with manager.session() as session:
        ask(models, "a")
    assert models.asked()["a"]["metadata"] == {"session_reference_id": session.reference_id}


def test_two_conversations_at_once_are_told_apart(manager: SessionManager, models: Models) -> None:
    async def converse(key: str) -> str | None:
        async with manager.session(key=key) as session:
            await aanswer(models, key)
            return await session.aid()

    async def main() -> tuple[str | None, str | None]:
        return await asyncio.gather(converse("a"), converse("b"))

    ids = asyncio.run(main())
    asked = models.asked()
    assert [asked[key]["metadata"]["session_id"] for key in "ab"] == [*ids]
    assert asked["a"]["prompt_cache_key"] != asked["b"]["prompt_cache_key"]


@pytest.mark.parametrize("answer_of_the_api", [create_sessions, fail()], ids=["up", "down"])
def test_the_store_never_blocks_the_event_loop(
    answer_of_the_api: Callable[[Request], Answer],
    sessions_api: SessionsAPI,
    make_manager: Callable[..., SessionManager],
    models: Models,
    tmp_path: Path,
) -> None:
    """Nor does it while the API is down, and the reference ID is all that there is."""
    asked_in_the_loop = []

    class Store(SQLiteStore):
        def _connection(self) -> Any:
            asked_in_the_loop.append(is_event_loop_running())
            return super()._connection()

    sessions_api.answer = answer_of_the_api
    manager = make_manager(store=Store(tmp_path / "conversations.db"))

    async def main() -> None:
        async with manager.session(key="chat"):
            await aanswer(models, "a")

    asyncio.run(main())
    assert models.asked()["a"]["metadata"]
    assert asked_in_the_loop
    assert not any(asked_in_the_loop)


def test_anthropic_is_told_the_session(manager: SessionManager, models: Models) -> None:
    block = run_block("logs-and-traces.md", "Anthropic")
    with anthropic.Anthropic(api_key="x", base_url=models.url) as client:
        ids = []
        for question in "ab":
            with manager.session() as session:
                assert block["answer"](client, question) == "because"
                ids.append(session.id)
        assert block["answer"](client, "c") == "because"
    assert [models.asked()[question]["metadata"]["user_id"] for question in "abc"] == [*ids, None]


def test_the_proxy_of_litellm_is_told_the_session(manager: SessionManager, models: Models) -> None:
    """By the line that the page has for a client of OpenAI."""
    with openai.OpenAI(api_key="x", base_url=models.url) as client, manager.session() as session:
        client.responses.create(
            model="gpt-6-astra", input="a", extra_body={"litellm_session_id": current_session_id()}
        )
    assert models.asked()["a"]["litellm_session_id"] == session.id
