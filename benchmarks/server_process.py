"""The server as ``hl-sessions serve`` runs it, and applications beside it that answer a constant."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import requests
import uvicorn

from benchmarks.api import listening_socket
from hl_sessions.server.application import create_application
from hl_sessions.server.run.garbage import search_less
from hl_sessions.server.run.serving import make_server
from hl_sessions.server.settings import ServerSettings

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from starlette.types import Receive, Scope, Send

__all__ = ["CONSTANT_PATH", "ServerProcess", "serving", "serving_bare"]

#: A route of FastAPI in the server, which answers a constant.
CONSTANT_PATH = "/v4/constant"
ANSWER = b'{"id":"sesh_AAAAAAAAAAAAAAAAAAAAAAAA"}'
HEADERS = [(b"content-length", b"%d" % len(ANSWER)), (b"content-type", b"application/json")]


@dataclass(frozen=True)
class ServerProcess:
    """Where it is, and which process.

    Attributes:
        address: host and port.
        process_id: of the operating system.
    """

    address: tuple[str, int]
    process_id: int

    @property
    def url(self) -> str:
        """Its URL, without a path."""
        host, port = self.address
        return f"http://{host}:{port}"

    def wait(self) -> None:
        """Wait until it has started; connections wait for that by themselves."""
        requests.get(self.url, timeout=60)

    def resident(self) -> int:
        """Return the memory that it has, in bytes; only Linux tells."""
        pages = int(Path(f"/proc/{self.process_id}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def serving(database: str) -> AbstractContextManager[ServerProcess]:
    """Run one worker of the server on the database."""
    return _running(_serve, database)


def serving_bare() -> AbstractContextManager[ServerProcess]:
    """Run a bare ASGI application by uvicorn as it comes, with nothing in C."""
    return _running(_serve_bare)


@contextmanager
def _running(serve: Callable[..., None], *arguments: str) -> Iterator[ServerProcess]:
    with listening_socket() as listener:
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(listener, *arguments), daemon=True
        )
        process.start()
        try:
            yield ServerProcess(listener.getsockname(), process.pid or 0)
        finally:
            process.terminate()
            process.join()


def _serve(listener: socket.socket, database: str) -> None:
    async def constant() -> dict[str, str]:
        return {"id": "sesh_AAAAAAAAAAAAAAAAAAAAAAAA"}

    application = create_application(ServerSettings(database=database))
    # First: the pages at the end of the routes take whatever is left.
    served, application.router.routes[:] = application.router.routes[:], []
    application.add_api_route(CONSTANT_PATH, constant, methods=["POST"], status_code=201)
    application.router.routes += served
    search_less()
    make_server(application, grace=1).run(sockets=[listener])


def _serve_bare(listener: socket.socket) -> None:
    async def application(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 201, "headers": HEADERS})
            await send({"type": "http.response.body", "body": ANSWER})

    config = uvicorn.Config(application, loop="asyncio", http="h11", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
