"""NiceGUI."""

# /// script
# dependencies = ["nicegui==3.18.0", "uvicorn", "playwright"]
# ///

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from nicegui import run, ui

from crossings.visits import click_twice
from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from tests.pages import run_block


def test_clicks_have_the_session_of_the_connection_unless_they_are_decorated(
    serve: Callable[[Any], str], open_page: Callable[[str], Any], manager: SessionManager
) -> None:
    run_block("chat-pages.md", "NiceGUI")

    @ui.page("/undecorated")
    async def undecorated() -> None:
        async def on_click() -> None:
            ui.label(str(await acurrent_session_id()))

        ui.label(str(await acurrent_session_id()))
        ui.button("Ask", on_click=on_click)

    app = FastAPI()
    ui.run_with(app)
    url = serve(app)
    first, second = click_twice(open_page(url))
    assert len({first, second} - {"None"}) == 2
    of_request, first, second = click_twice(open_page(f"{url}/undecorated"), shown_at_first=1)
    assert of_request != first == second
    assert "None" not in {of_request, first}


def test_a_function_in_a_thread_has_none_unless_it_is_bound(manager: SessionManager) -> None:
    on_click = run_block("chat-pages.md", "A function in a thread")["on_click"]

    async def seen() -> list[str | None]:
        return [await run.io_bound(current_session_id), await on_click()]

    run.setup()
    with manager.session() as session:
        assert asyncio.run(seen()) == [None, session.id]
