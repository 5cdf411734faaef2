"""NiceGUI."""

# /// script
# dependencies = ["nicegui==3.18.0"]
# ///

import asyncio

from nicegui import run

from hl_sessions import SessionManager, current_session_id
from tests.pages import run_block


def test_a_function_in_a_thread_has_none_unless_it_is_bound(manager: SessionManager) -> None:
    on_click = run_block("chat-pages.md", "NiceGUI")["on_click"]

    async def seen() -> list[str | None]:
        return [await run.io_bound(current_session_id), await on_click()]

    run.setup()
    with manager.session() as session:
        assert asyncio.run(seen()) == [None, session.id]
