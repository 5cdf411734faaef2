"""Shiny."""

# /// script
# dependencies = ["shiny==1.8.0", "uvicorn", "playwright"]
# ///

import asyncio
from collections.abc import Callable
from typing import Any

from shiny import App, reactive, ui

from crossings.visits import ask_twice
from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from hl_sessions.integrations.asgi import HLSessionMiddleware
from tests.pages import run_block


def two_messages(page: Any) -> list[str]:
    """Return the sessions of their answers."""

    def send() -> None:
        page.get_by_role("textbox").fill("Hello")
        page.get_by_role("textbox").press("Enter")

    return ask_twice(page, send)


def test_messages_have_the_session_of_the_connection_unless_their_handler_is_decorated(
    serve: Callable[[Any], str], open_page: Callable[[str], Any], manager: SessionManager
) -> None:
    def server(input: Any, output: Any, session: Any) -> None:  # noqa: A002 - it is called so
        chat = ui.Chat("chat")

        @chat.on_user_submit
        async def on_message(text: str) -> None:
            await chat.append_message(str(await acurrent_session_id()))

    block = run_block("chat-pages.md", "Shiny")
    first, second = two_messages(open_page(serve(block["app"])))
    assert len({first, second} - {"None"}) == 2
    undecorated = App(block["page"], server)
    first, second = two_messages(open_page(serve(HLSessionMiddleware(undecorated, manager))))
    assert first == second != "None"
    of_messages = HLSessionMiddleware(undecorated, manager, websocket="message")
    first, second = two_messages(open_page(serve(of_messages)))
    assert len({first, second} - {"None"}) == 2


def test_an_effect_runs_in_the_session_of_who_sets_the_value_unless_it_is_bound(
    manager: SessionManager,
) -> None:
    block = run_block("chat-pages.md", "Values that pages share")
    seen: list[tuple[int, str | None]] = []

    async def run() -> None:
        with manager.session() as page:
            block["server"](None, None, None)

            @reactive.effect
            def watch() -> None:
                seen.append((block["shared"](), current_session_id()))

            await reactive.flush()
        with manager.session() as other:
            block["shared"].set(1)
            await reactive.flush()
        assert seen == [(0, page.id), (1, other.id)]
        assert block["seen"] == [(0, page.id), (1, page.id)]

    asyncio.run(run())
