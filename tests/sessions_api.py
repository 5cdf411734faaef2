"""A sessions API that counts its calls, and answers as a test wants it to."""

import json
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.waiting import PATIENCE


@dataclass
class Request:
    """A request that has arrived."""

    method: str
    target: str  # the path and query as they were on the wire
    headers: Message
    body: bytes
    connection: int  # the n-th connection that was made, from 1


@dataclass
class Answer:
    """An answer; a body that is not bytes is sent as JSON."""

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


def create_sessions_and_logs(request: Request) -> Answer:
    """The same, and 200 for datapoints."""
    return Answer(200, []) if request.target == "/v4/logs" else create_sessions(request)


class SessionsAPI:
    """A sessions API on a free port of the loopback; it records what arrives.

    Attributes:
        answer: gives the answer to each request, in the thread of its connection; to be replaced at will.
    """

    def __init__(self, port: int = 0) -> None:
        self.answer: Callable[[Request], Answer] = create_sessions
        self.requests: list[Request] = []
        self.connections = 0
        self.open_connections = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
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
            self.open_connections += 1
            return self.connections

    def disconnected(self) -> None:
        with self._lock:
            self.open_connections -= 1

    def received(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
        return self.answer(request)


class _Server(ThreadingHTTPServer):
    api: SessionsAPI
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may go away whenever it likes."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection_number = self.server.api.connected()

    def finish(self) -> None:
        super().finish()
        self.server.api.disconnected()

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


class Gate:
    """Keeps the answers of a sessions API back until it is opened."""

    def __init__(self, api: SessionsAPI) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()
        self._answer = api.answer
        api.answer = self

    def __call__(self, request: Request) -> Answer:
        self.arrived.set()
        assert self.opened.wait(PATIENCE)
        return self._answer(request)


def fail(status: int = 503) -> Callable[[Request], Answer]:
    """What makes a sessions API fail."""
    return lambda _: Answer(status, {"detail": "down"})


def stored_logs(api: SessionsAPI) -> list[dict[str, Any]]:
    """Return all datapoints that have arrived, in their order."""
    return [
        datapoint
        for request in api.requests
        if (request.method, request.target) == ("POST", "/v4/logs")
        for datapoint in json.loads(request.body)
    ]
