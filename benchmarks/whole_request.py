"""Whole requests to a Starlette application on uvicorn, over a connection that is kept open."""

from __future__ import annotations

import multiprocessing
import socket
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.api import listening_socket
from benchmarks.measure import Effort, calls, compare, paired_medians
from benchmarks.middleware import HandWrittenASGI
from benchmarks.neighbours import ASGI_MIDDLEWARE, around_function
from benchmarks.row import LIMIT, OURS, Row, limited
from hl_sessions.integrations.starlette import HLSessionMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.requests import Request

__all__ = ["whole_request_rows"]

BARE = "bare application"

_MIDDLEWARE: dict[str, Callable[[Any], Any]] = {
    LIMIT: HandWrittenASGI,
    OURS: HLSessionMiddleware,
    **ASGI_MIDDLEWARE,
}


def whole_request_rows(effort: Effort) -> Iterator[Row]:
    """Measure requests: all to one process, as no two processes are equally fast."""
    names = [BARE, *around_function(_MIDDLEWARE, _ok)]
    effort = replace(effort, rounds=effort.rounds * 10, turn=0)  # a request each
    with _connection(names) as connection:
        runs = {name: calls(_request(connection, place)) for place, name in enumerate(names)}
        figures = paired_medians(compare(runs, effort), BARE)
    yield limited("uvicorn + Starlette, whole request", figures, times=1.05, reference=BARE)


@contextmanager
def _connection(names: list[str]) -> Iterator[socket.socket]:
    with listening_socket() as listener:
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(listener, names), daemon=True
        )
        process.start()
        try:
            with socket.create_connection(listener.getsockname()) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield connection
        finally:
            process.terminate()
            process.join()


def _request(connection: socket.socket, place: int) -> Callable[[], None]:
    head = f"GET /{place} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode()

    def request() -> None:
        connection.sendall(head)
        received = b""
        while not received.endswith(b"\r\n\r\nok"):
            data = connection.recv(4096)
            if not data:
                raise ConnectionError("the server has gone")
            received += data

    return request


async def _ok(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


def _serve(listener: socket.socket, names: list[str]) -> None:
    def starlette(path: str, name: str) -> Starlette:
        middleware = [] if name == BARE else [Middleware(_MIDDLEWARE[name])]
        return Starlette(routes=[Route(path, _ok)], middleware=middleware)

    apps = {f"/{place}": starlette(f"/{place}", name) for place, name in enumerate(names)}

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        await apps[scope["path"]](scope, receive, send)

    uvicorn.Server(uvicorn.Config(dispatch, lifespan="off", log_level="warning")).run(sockets=[listener])
