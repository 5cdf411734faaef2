"""Panel."""

# /// script
# dependencies = ["panel==1.9.4", "playwright"]
# ///

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

import panel as pn
import pytest

from crossings.visits import click_twice
from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from tests.pages import run_block
from tests.waiting import PATIENCE

Serve = Callable[[Any], str]
OpenPage = Callable[[str], Any]


@pytest.fixture
def serve_panel(manager: SessionManager) -> Iterator[Serve]:
    """Serves page functions, each from a thread in the caller's context, and returns the URL."""
    running: list[tuple[Any, threading.Thread]] = []

    def serve(page: Any, served: Future[Any]) -> None:
        server = pn.serve(
            page, port=0, address="127.0.0.1", websocket_origin="*", start=False, show=False, verbose=False
        )
        served.set_result(server)
        server.start()
        server.io_loop.start()
        server.stop()

    def start(page: Any) -> str:
        served: Future[Any] = Future()
        arguments = (serve, page, served)
        thread = threading.Thread(target=copy_context().run, args=arguments, daemon=True)
        thread.start()
        server = served.result(PATIENCE)
        running.append((server, thread))
        return f"http://127.0.0.1:{server.port}"

    yield start
    for server, thread in running:
        server.io_loop.add_callback(server.io_loop.stop)
        thread.join(PATIENCE)


def page() -> pn.Column:
    async def on_click(event: Any) -> None:
        column.append(str(await acurrent_session_id()))

    button = pn.widgets.Button(label="Ask", on_click=on_click)
    column = pn.Column(button, str(current_session_id()))
    return column


def test_pages_and_clicks_have_none_unless_they_are_decorated(
    serve_panel: Serve, open_page: OpenPage
) -> None:
    assert click_twice(open_page(serve_panel(page)), shown_at_first=1) == ["None"] * 3
    decorated = run_block("chat-pages.md", "Panel")["page"]
    sessions = click_twice(open_page(serve_panel(decorated)), shown_at_first=1)
    assert len({*sessions} - {"None"}) == 3


def test_served_from_a_scope_all_pages_have_its_session(
    serve_panel: Serve, open_page: OpenPage, manager: SessionManager
) -> None:
    with manager.session() as session:
        url = serve_panel(page)
    assert click_twice(open_page(url), shown_at_first=1) == [session.id] * 3
