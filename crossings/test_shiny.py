"""Shiny."""

# /// script
# dependencies = ["shiny==1.8.0"]
# ///

import asyncio

from shiny import reactive

from hl_sessions import SessionManager, current_session_id
from tests.pages import run_block


def test_an_effect_runs_in_the_session_of_who_sets_the_value_unless_it_is_bound(
    manager: SessionManager,
) -> None:
    block = run_block("chat-pages.md", "Shiny")
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
