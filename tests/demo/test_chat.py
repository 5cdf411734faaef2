import asyncio
import json
import socket
from typing import Any

import httpx
import pytest
import requests

from hl_sessions import SessionManager
from hl_sessions.demo.api import API
from hl_sessions.demo.application import MAX_MESSAGE, create_chat
from hl_sessions.demo.session_list import PROJECT
from hl_sessions.demo.texts import TEXTS, find_text
from tests.waiting import PATIENCE, wait_until

STEPS = ["moderation", "retrieval", "answer"]


def test_a_reply_is_streamed_under_one_session(chat: Any, pausing_chat: Any) -> None:
    """The reply comes in many chunks. Its answer is logged after the last one, under the ID in the header."""
    with pausing_chat.ask("What happens when the API is down?") as response:
        chunks = response.iter_content(chunk_size=None)
        first = next(chunks)
        session_id = response.headers["X-Session-ID"]
        assert chat.steps(session_id) == STEPS[:2]
        pausing_chat.may_go_on.set()
        rest = list(chunks)
    assert first == b"When"
    assert len(rest) > 5
    assert chat.steps(session_id) == STEPS
    assert chat.session(session_id)["datapoints"][-1]["output"] == b"".join([first, *rest]).decode()


def test_every_message_is_a_session_of_its_own(chat: Any) -> None:
    """Two messages over one connection have two sessions, of three datapoints each."""
    with requests.Session() as http:
        session_ids = [
            http.post(f"{chat.url}chat", json={"message": "hello"}, timeout=PATIENCE).headers["X-Session-ID"]
            for _ in range(2)
        ]
    assert session_ids[0] != session_ids[1]
    assert [chat.steps(session_id) for session_id in session_ids] == [STEPS, STEPS]


def test_the_steps_run_in_different_places(chat: Any) -> None:
    """A coroutine, a worker thread and the stream of the response log under the same ID."""
    with chat.ask("Do threads share the session?") as response:
        assert "Worker threads" in response.text
    session = chat.session(response.headers["X-Session-ID"])
    places = [datapoint["ran_in"] for datapoint in session["datapoints"]]
    assert places == ["coroutine", "worker thread", "response stream"]


def test_a_blocked_word_is_refused_and_logged(chat: Any) -> None:
    """The reply is polite, and its session has the three datapoints."""
    with chat.ask("You STUPID bot") as response:
        assert response.text.startswith("I would rather keep this friendly")
    datapoints = chat.session(response.headers["X-Session-ID"])["datapoints"]
    assert [datapoint["step"] for datapoint in datapoints] == STEPS
    assert datapoints[0]["output"] == "blocked: stupid"


def test_a_reader_that_goes_away_leaves_a_whole_session(chat: Any, pausing_chat: Any) -> None:
    """The words up to then are logged as the answer."""
    with pausing_chat.ask("When is a session created?") as response:
        first = next(response.iter_content(chunk_size=None))
    session_id = response.headers["X-Session-ID"]
    wait_until(lambda: chat.steps(session_id) == STEPS)
    assert chat.session(session_id)["datapoints"][-1]["output"] == first.decode()
    assert TEXTS[0].body.startswith(first.decode())


def test_reading_the_list_makes_no_session(chat: Any) -> None:
    """A request that logs nothing is no session."""
    before = chat.sessions()
    assert chat.sessions() == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b'"hello"',
        b"{}",
        b'{"message": 1}',
        b'{"message": " "}',
        b'{"message": "\\u0000"}',
        b'{"message": "\\ud800"}',
        b"[" * 10_000,
        json.dumps({"message": "a" * (MAX_MESSAGE + 1)}).encode(),
    ],
    ids=lambda body: body[:25].decode(),
)
def test_what_is_no_message_is_refused(chat: Any, body: bytes) -> None:
    """The answer is 422 with a sentence, and no session."""
    response = requests.post(f"{chat.url}chat", data=body, timeout=PATIENCE)
    assert (response.status_code, "X-Session-ID" in response.headers) == (422, False)
    assert response.json() == {"error": "A message has 1 to 500 characters of text."}


def test_a_message_may_be_in_any_script(chat: Any) -> None:
    """Letters, signs and emoji of more than one code point are text."""
    with chat.ask("¿Qué? 世界 👩‍👩‍👧") as response:
        assert response.text
    assert chat.steps(response.headers["X-Session-ID"]) == STEPS


@pytest.mark.parametrize("header", ["Host", "Origin"])
def test_foreign_pages_cannot_use_the_chat(chat: Any, header: str) -> None:
    """A foreign name for this machine, or another origin, gets 403."""
    value = {"Host": "evil.example", "Origin": "https://evil.example"}[header]
    response = requests.post(
        f"{chat.url}chat", b'{"message": "hello"}', headers={header: value}, timeout=PATIENCE
    )
    assert response.status_code == 403


def test_the_page_of_the_server_is_open_to_this_machine_only(chat: Any) -> None:
    """It asks for no key, and a foreign page gets nothing."""
    page = chat.api_url.removesuffix("v4")
    assert requests.get(page, timeout=PATIENCE).ok
    for header, value in {"Host": "evil.example", "Origin": "https://evil.example"}.items():
        assert requests.get(page, headers={header: value}, timeout=PATIENCE).status_code == 403


def test_without_the_api_the_chat_goes_on_and_the_list_says_so() -> None:
    """The reply comes without a session, and the list is an error with a sentence."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nowhere = f"http://127.0.0.1:{listener.getsockname()[1]}/v4"
    api = API(nowhere, "key")

    async def no_pause() -> None:
        pass

    async def call(manager: SessionManager) -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(create_chat(manager, api, no_pause))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post("/chat", json={"message": "outages"}), await client.get("/sessions")

    with SessionManager(nowhere, "key", retries=0, timeout=1, project=PROJECT) as manager:
        reply, sessions = asyncio.run(call(manager))
    api.close()
    assert reply.text.startswith("When the API is down")
    assert "X-Session-ID" not in reply.headers
    assert (sessions.status_code, sessions.json()) == (
        502,
        {"error": "The sessions API does not answer as it should."},
    )


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("What happens when the API is down?", "Outages"),
        ("When is a session created?", "Lazy creation"),
        ("Do threads share the session?", "Threads"),
        ("Does streaming keep the session?", "Streaming"),
        ("How many POSTs go out for ten readers?", "Exactly one"),
        ("Can several requests of one chat have the same session?", "Conversations"),
        ("Where does the server keep the data?", "The server"),
        ("How do I install it in my Flask app?", "Getting started"),
        ("", None),
        ("What is the meaning of life?", None),
    ],
)
def test_a_question_finds_its_text(question: str, title: str | None) -> None:
    """The text with the rarest words of the question is found, and no text without a common word."""
    text = find_text(question)
    assert (text.title if text else None) == title


def test_every_text_is_found_by_its_title() -> None:
    """No text hides another one."""
    assert [find_text(text.title) for text in TEXTS] == list(TEXTS)
