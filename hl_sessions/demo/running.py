"""Runs the API server and the chat application side by side, in threads of this process."""

import asyncio
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hl_sessions import SessionManager
from hl_sessions.demo.api import API
from hl_sessions.demo.application import create_chat
from hl_sessions.demo.session_list import PROJECT
from hl_sessions.server.application import create_application
from hl_sessions.server.run.serving import base_url, in_background
from hl_sessions.server.settings import ServerSettings


class LockedDatabaseError(Exception):
    """The database has keys, which the demo does not know, so its server would refuse the chat.

    Args:
        database: The path of the SQLite file.
    """

    def __init__(self, database: str) -> None:
        super().__init__(
            f"the database {database} has keys, so the demo is not let in; give it another one with --db"
        )


@contextmanager
def running_demo(
    chat_listener: socket.socket,
    api_listener: socket.socket,
    *,
    database: str | None,
    seconds_per_word: float,
) -> Iterator[None]:
    """Serve both as long as the ``with`` block runs. At its end, an unfinished reply is completed at once.

    Args:
        chat_listener: The socket that the chat application serves.
        api_listener: The socket that the API serves.
        database: The path of the API's SQLite file; ``None``: a temporary one.
        seconds_per_word: The time that the bot takes for a word.

    Raises:
        LockedDatabaseError: The database has keys.
        sqlalchemy.exc.DBAPIError: The database cannot be opened.
    """
    # The server accepts any key; one is given, so that a key of the environment is not used.
    api_key = "demo"
    url = base_url(api_listener)
    is_ending = threading.Event()

    async def pause() -> None:
        if not is_ending.is_set():
            await asyncio.sleep(seconds_per_word)

    with ExitStack() as stack:
        if database is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="hl-sessions-demo-"))
            database = str(Path(directory, "demo.sqlite3"))
        # Without a key, so that the user of this machine can open its page.
        server = create_application(ServerSettings(database=database))
        if not server.state.keys.is_open():
            server.state.database.close()
            raise LockedDatabaseError(database)
        stack.enter_context(in_background(server, api_listener, grace=1))
        manager = stack.enter_context(SessionManager(url, api_key, project=PROJECT))
        api = API(url, api_key)
        stack.callback(api.close)
        chat = create_chat(manager, api, pause)
        stack.enter_context(in_background(chat, chat_listener, grace=1))
        stack.callback(is_ending.set)
        yield
