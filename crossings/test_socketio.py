"""Socket.IO, as an ASGI application and in Flask."""

# /// script
# dependencies = ["python-socketio==5.18.1", "flask-socketio==5.7.0", "flask", "uvicorn", "websocket-client"]
# ///

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import socketio
from flask import Flask
from flask_socketio import SocketIO
from werkzeug.serving import make_server

from hl_sessions import SessionManager, acurrent_session_id, current_session_id
from hl_sessions.integrations.asgi import HLSessionMiddleware
from hl_sessions.integrations.flask import HLSessions
from tests.pages import run_block
from tests.waiting import PATIENCE

Serve = Callable[[Any], str]


def two_messages(url: str, transport: str) -> list[str | None]:
    client = socketio.Client()
    client.connect(url, transports=[transport], wait_timeout=PATIENCE)
    answers = [client.call("message", "Hello", timeout=PATIENCE) for _ in range(2)]
    client.eio.disconnect(abort=True)  # else it waits for the answer to its last poll
    return answers


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_connection_is_one_session_but_not_by_polling(
    transport: str, serve: Serve, manager: SessionManager
) -> None:
    server = socketio.AsyncServer(async_mode="asgi")

    @server.on("message")
    async def on_message(sid: str, text: str) -> str | None:
        return await acurrent_session_id()

    url = serve(HLSessionMiddleware(socketio.ASGIApp(server), manager))
    first, second = two_messages(url, transport)
    assert first is not None
    assert (first == second) == (transport == "websocket")


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_decorated_each_message_is_one(transport: str, serve: Serve, manager: SessionManager) -> None:
    url = serve(run_block("chat-pages.md", "Socket.IO")["app"])
    first, second = two_messages(url, transport)
    assert None not in {first, second}
    assert first != second


@pytest.fixture
def serve_flask() -> Iterator[Serve]:
    running = []

    def start(app: Any) -> str:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()


@pytest.mark.parametrize("is_outside", [False, True])
def test_handlers_of_flask_have_none_and_the_order_counts_at_connect(
    is_outside: bool, serve_flask: Serve, manager: SessionManager
) -> None:
    app = Flask("test")
    if not is_outside:
        HLSessions(app, manager)
    io = SocketIO(app, async_mode="threading")
    if is_outside:
        HLSessions(app, manager)
    at_connect: list[str | None] = []

    @io.on("connect")
    def connect() -> None:
        at_connect.append(current_session_id())

    @io.on("message")
    def on_message(text: str) -> str | None:
        return current_session_id()

    assert two_messages(serve_flask(app), "polling") == [None, None]
    assert [session_id is not None for session_id in at_connect] == [is_outside]


def test_decorated_each_page_is_one(serve_flask: Serve, manager: SessionManager) -> None:
    url = serve_flask(run_block("chat-pages.md", "Flask-SocketIO")["app"])
    pages = [{*two_messages(url, "polling")} for _ in range(2)]
    assert [len(page) for page in pages] == [1, 1]
    assert len({*pages[0], *pages[1]} - {None}) == 2
