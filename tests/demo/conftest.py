"""A demo that several tests share, and demos in processes of their own."""

import asyncio
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from socket import create_server
from typing import Any

import pytest
import requests

import hl_sessions.demo.api
import hl_sessions.manager
from hl_sessions import SessionManager, flush
from hl_sessions.demo.api import API
from hl_sessions.demo.application import create_chat
from hl_sessions.demo.running import running_demo
from hl_sessions.demo.session_list import PROJECT
from hl_sessions.server.run.serving import base_url, in_background
from tests.servers import first_lines, spawning
from tests.waiting import PATIENCE


@dataclass
class Chat:
    """A chat application to talk to."""

    url: str
    api_url: str

    def ask(self, message: str) -> requests.Response:
        """Send a message, and return the reply before it is read."""
        return requests.post(f"{self.url}chat", json={"message": message}, stream=True, timeout=PATIENCE)

    def sessions(self) -> list[dict[str, Any]]:
        """Return the list of sessions, after the chats of this process have logged all datapoints."""
        assert flush(PATIENCE)
        answer = requests.get(f"{self.url}sessions", timeout=PATIENCE)
        sessions: list[dict[str, Any]] = answer.json()["sessions"]
        return sessions

    def session(self, session_id: str) -> dict[str, Any]:
        return next(session for session in self.sessions() if session["id"] == session_id)

    def steps(self, session_id: str) -> list[str]:
        return [datapoint["step"] for datapoint in self.session(session_id)["datapoints"]]


@dataclass
class Demo(Chat):
    """A demo in a process of its own."""

    process: subprocess.Popen[str]
    temporary: Path

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[str, str]:
        """Tell the demo to end, and return its output since the greeting, to stdout and to stderr."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def start_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Demo]]:
    """Starts ``hl-sessions demo`` with arguments, and waits until it prints its address."""
    with spawning("demo") as start_process:

        def start(*arguments: str) -> Demo:
            temporary = tmp_path_factory.mktemp("temporary")
            process = start_process(*arguments, TMPDIR=str(temporary))
            greeting = first_lines(process, 3)
            urls = [re.search(r"http://[\d.:]+/(v4)?", line) for line in greeting[:2]]
            assert urls[0]
            assert urls[1]
            return Demo(urls[0][0], urls[1][0], process, temporary)

        yield start


@dataclass
class PausingChat(Chat):
    """A chat whose bot says one word, and waits to be released for the others."""

    may_go_on: threading.Event


@pytest.fixture
def pausing_chat(chat: Chat) -> Iterator[PausingChat]:
    """A pausing chat beside the shared one, on the same API."""
    may_go_on = threading.Event()

    async def pause() -> None:
        await asyncio.to_thread(may_go_on.wait)

    api = API(chat.api_url, "demo")
    with (
        SessionManager(chat.api_url, project=PROJECT) as manager,
        create_server(("127.0.0.1", 0)) as listener,
        in_background(create_chat(manager, api, pause), listener),
    ):
        host, port = listener.getsockname()
        yield PausingChat(f"http://{host}:{port}/", chat.api_url, may_go_on)
        may_go_on.set()
    api.close()


@pytest.fixture(scope="session")
def chat() -> Iterator[Chat]:
    """A chat that the tests share; its bot is quick."""
    with (
        pytest.MonkeyPatch.context() as environment,
        create_server(("127.0.0.1", 0)) as chat_listener,
        create_server(("127.0.0.1", 0)) as api_listener,
    ):
        environment.setenv("no_proxy", "127.0.0.1")
        environment.setattr(hl_sessions.manager, "DEFAULT_TIMEOUT", PATIENCE)
        environment.setattr(hl_sessions.demo.api, "TIMEOUT", PATIENCE)
        with running_demo(chat_listener, api_listener, database=None, seconds_per_word=0.01):
            host, port = chat_listener.getsockname()
            yield Chat(f"http://{host}:{port}/", base_url(api_listener))
