"""Whole requests to a Starlette application on uvicorn, over a connection that is kept open."""

from __future__ import annotations

import multiprocessing
import socket
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.api import listening_socket
from benchmarks.measure import Effort, calls, compare
from benchmarks.middleware import HandWrittenASGI
from benchmarks.neighbours import ASGI_MIDDLEWARE, installed
from benchmarks.row import LIMIT, OURS, Row, limited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.requests import Request

__all__ = ["whole_request_rows"]

BARE = "bare application"


def _ours(app: Any) -> Any:
    from hl_sessions.integrations.starlette import HLSessionMiddleware

    return HLSessionMiddleware(app)


_MIDDLEWARE: dict[str, Callable[[Any], Any]] = {
    LIMIT: HandWrittenASGI,
    OURS: _ours,
    **ASGI_MIDDLEWARE,
}


def whole_request_rows(effort: Effort) -> Iterator[Row]:
    """Measure requests, each server in a process of its own."""
    names = [BARE, *installed(_MIDDLEWARE, None)]
    with ExitStack() as stack:
        connections = {name: stack.enter_context(_connection(name)) for name in names}
        runs = {name: calls(_request(connection)) for name, connection in connections.items()}
        figures = {name: median(rounds) for name, rounds in compare(runs, effort).items()}
    yield limited("uvicorn + Starlette, whole request", figures, times=1.05, reference=BARE)


@contextmanager
def _connection(name: str) -> Iterator[socket.socket]:
    with listening_socket() as listener:
        address = listener.getsockname()
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(listener, name), daemon=True
        )
        process.start()
        try:
            with socket.create_connection(address) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield connection
        finally:
            process.terminate()
            process.join()


def _request(connection: socket.socket) -> Callable[[], None]:
    def request() -> None:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n")
        received = b""
        while not received.endswith(b"\r\n\r\nok"):
            data = connection.recv(4096)
            if not data:
                raise ConnectionError("the server has gone")
            received += data

    return request


def _serve(listener: socket.socket, name: str) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def ok(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    middleware = [] if name == BARE else [Middleware(_MIDDLEWARE[name])]
    app = Starlette(routes=[Route("/", ok)], middleware=middleware)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
