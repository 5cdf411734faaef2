"""Runs the API server and the chat application side by side, on threads of this process."""

import asyncio
import secrets
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hl_sessions import SessionManager
from hl_sessions.demo.api import API
from hl_sessions.demo.application import create_chat
from hl_sessions.server.application import create_application
from hl_sessions.server.serving import base_url, in_background
from hl_sessions.server.settings import ServerSettings


@contextmanager
def running_demo(
    chat_listener: socket.socket,
    api_listener: socket.socket,
    *,
    database: str | None,
    seconds_per_word: float,
) -> Iterator[None]:
    """Serve both as long as the ``with`` block runs. What is being said then is said to its end at once.

    Args:
        chat_listener: The socket that the chat application serves.
        api_listener: The socket that the API serves.
        database: The path of the API's SQLite file; ``None``: a temporary one.
        seconds_per_word: How long the bot takes for a word.

    Raises:
        sqlalchemy.exc.DBAPIError: When the database cannot be opened.
    """
    # A key of its own: no variable of the environment takes part, and nobody else can call the API.
    api_key = secrets.token_urlsafe(32)
    url = base_url(api_listener)
    is_ending = threading.Event()

    async def pause() -> None:
        if not is_ending.is_set():
            await asyncio.sleep(seconds_per_word)

    with ExitStack() as stack:
        if database is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="hl-sessions-demo-"))
            database = str(Path(directory, "demo.sqlite3"))
        server = create_application(ServerSettings(database=database, api_key=api_key))
        stack.enter_context(in_background(server, api_listener, grace=1))
        manager = stack.enter_context(SessionManager(url, api_key))
        api = API(url, api_key)
        stack.callback(api.close)
        chat = create_chat(manager, api, pause)
        stack.enter_context(in_background(chat, chat_listener, grace=1))
        stack.callback(is_ending.set)
        yield
