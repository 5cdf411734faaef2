"""Chainlit."""

# /// script
# dependencies = ["chainlit==2.12.0", "uvicorn", "playwright"]
# ///

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from crossings.visits import ask_twice
from hl_sessions import SessionManager, acurrent_session_id
from hl_sessions.integrations.starlette import HLSessionMiddleware
from tests.pages import run_block


def two_messages(page: Any) -> list[str]:
    """Return the sessions of their answers."""

    def send() -> None:
        page.get_by_role("textbox").fill("Hello")
        page.click("#chat-submit")

    return ask_twice(page, send)


def test_messages_have_the_session_of_the_connection_unless_their_handler_is_decorated(
    serve: Callable[[Any], str],
    open_page: Callable[[str], Any],
    manager: SessionManager,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHAINLIT_APP_ROOT", str(tmp_path))  # where it writes when it is imported
    import chainlit as cl
    from chainlit.config import config
    from chainlit.server import app as chainlit_app
    from chainlit.utils import mount_chainlit

    config.project.transports = ["websocket"]  # else the first message may come by polling, as a request
    app = FastAPI()
    app.add_middleware(HLSessionMiddleware)
    target = tmp_path / "chat.py"
    target.touch()
    mount_chainlit(app, str(target), "/chat")
    url = serve(app) + "/chat"
    bare = FastAPI()  # without the middleware, as with "chainlit run"
    bare.mount("/chat", chainlit_app)
    bare_url = serve(bare) + "/chat"

    @cl.on_message
    async def on_message(message: cl.Message) -> None:
        await cl.Message(str(await acurrent_session_id())).send()

    first, second = two_messages(open_page(url))
    assert first == second != "None"
    assert two_messages(open_page(bare_url)) == ["None"] * 2
    run_block("chat-pages.md", "Chainlit")
    for each in (url, bare_url):
        first, second = two_messages(open_page(each))
        assert len({first, second} - {"None"}) == 2
