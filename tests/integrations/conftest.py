"""Real servers on the loopback, and a manager whose sessions API counts its calls."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
import waitress.server  # type: ignore[import-untyped]

from hl_sessions import SessionManager, current_session
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE

Address = tuple[str, int]
ServeASGI = Callable[..., Address]

SESSION_ID = re.compile(r"sesh_[0-9a-f]{32}")


@pytest.fixture(autouse=True)
def nothing_stays_behind() -> Iterator[None]:
    """No test leaves a session to the next one."""
    assert current_session() is None
    yield
    assert current_session() is None


@pytest.fixture(scope="session")
def django_project() -> None:
    """Once in a process: tests set what else they need, the URLs among it, for their own time."""
    import django  # type: ignore[import-untyped]
    from django.conf import settings  # type: ignore[import-untyped]

    settings.configure(ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None, SECRET_KEY="of tests", USE_TZ=True)
    django.setup()


@pytest.fixture
def manager(sessions_api: SessionsAPI) -> Iterator[SessionManager]:
    with SessionManager(sessions_api.base_url, retries=0) as manager:
        yield manager


@pytest.fixture
def other_manager(sessions_api: SessionsAPI) -> Iterator[SessionManager]:
    with SessionManager(sessions_api.base_url, retries=0) as manager:
        yield manager


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


@pytest.fixture
def serve_asgi() -> Iterator[ServeASGI]:
    """Serves applications with uvicorn, each from a thread, and gives the address; until the test ends."""
    running: list[tuple[_Server, threading.Thread, socket.socket]] = []
    defaults = {"log_config": None, "ws": "websockets-sansio", "lifespan": "off"}

    def serve(app: Any, **settings: Any) -> Address:
        server = _Server(uvicorn.Config(app, **{**defaults, **settings}))
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread, listener))
        assert server.is_up.wait(PATIENCE)
        address: Address = listener.getsockname()
        return address

    yield serve
    for server, _, _ in running:
        server.should_exit = True
    for _, thread, listener in running:
        thread.join(PATIENCE)
        listener.close()


@contextmanager
def running_in_thread(serve: Callable[[], Any], stop: Callable[[], Any]) -> Iterator[None]:
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(PATIENCE)


@contextmanager
def running_waitress(app: Any, threads: int = 2) -> Iterator[Address]:
    listener = socket.create_server(("127.0.0.1", 0))
    connections: dict[int, Any] = {}
    server = waitress.server.create_server(app, map=connections, sockets=[listener], threads=threads)

    def stop() -> None:
        server.trigger.pull_trigger(lambda: waitress.wasyncore.close_all(connections))
        server.task_dispatcher.shutdown()

    with running_in_thread(server.run, stop):
        yield listener.getsockname()


def send_raw(address: Address, request: str) -> bytes:
    """All bytes that the server sends until it closes the connection, which the request has to ask for."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode("ascii"))
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    return re.sub(rb"(?i)(\ndate: )[^\r]*", rb"\1(masked)", received)


def get_raw(address: Address, path: str = "/", method: str = "GET") -> bytes:
    return send_raw(address, f"{method} {path} HTTP/1.1\nHost: test\nConnection: close\n\n")


def headers_named(name: str, response: bytes) -> list[str]:
    """The values of all headers of that name in a response as it was on the wire."""
    head = response.partition(b"\r\n\r\n")[0].decode("latin-1")
    fields = [line.partition(":") for line in head.split("\r\n")[1:]]
    return [value.strip() for field, _, value in fields if field.lower() == name.lower()]
