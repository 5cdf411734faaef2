"""Serves an application over HTTP: in the foreground, or on a thread beside other work."""

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp
from uvicorn.server import HANDLED_SIGNALS

from hl_sessions.server.application import create_application
from hl_sessions.server.http.access import BASE_PATH
from hl_sessions.server.run.accepting import accept
from hl_sessions.server.run.allocation import keep_little_memory
from hl_sessions.server.run.connections import Connections, most_connections
from hl_sessions.server.run.error_output import warnings_on_a_thread
from hl_sessions.server.run.garbage import search_less
from hl_sessions.server.run.patience import Connection
from hl_sessions.server.settings import ServerSettings

GRACE: Final = 8
"""Seconds that requests have to finish when the server is told to end.

This is more than the time that a write waits for a locked database, and less than the ten seconds after which
Docker kills.
"""


def listen(host: str, port: int) -> socket.socket:
    """Take a port. From now on connections are accepted, and wait to be served.

    Raises:
        OSError: When the port is taken, or the host has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # "::" is every address of this machine, those of IPv4 as well.
    is_every_address = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=family, dualstack_ipv6=is_every_address)


def base_url(listener: socket.socket, path: str = BASE_PATH) -> str:
    """Return the URL of the API, or of another path, behind this socket: ``http://127.0.0.1:8642/v4``."""
    host, port = listener.getsockname()[:2]
    return _url(host, port, path)


def page_url(listener: socket.socket, prefix: str) -> str:
    """Return the URL of the page behind this socket, for a browser on this machine.

    Args:
        listener: The socket.
        prefix: The path that a proxy serves the server at, without a trailing slash.
    """
    host, port = listener.getsockname()[:2]
    # No browser has to understand the address that stands for all of them.
    return _url("localhost" if ip_address(host).is_unspecified else host, port, f"{prefix}/")


def _url(host: str, port: int, path: str) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"


def serve(application: FastAPI, listener: socket.socket, greet: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM, then answer the accepted requests.

    Args:
        application: The application to serve.
        listener: The socket to serve it on.
        greet: Called once signals are handled, so that the process may be told to end.
    """
    search_less()
    keep_little_memory()
    server = make_server(application, GRACE)
    # The server listens for signals only while it runs. At its end it passes them to these handlers.
    before = {number: signal.signal(number, server.handle_exit) for number in HANDLED_SIGNALS}
    try:
        greet()
        with warnings_on_a_thread():
            server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def serving_in_background(settings: ServerSettings) -> Iterator[str]:
    """Serve on a thread of this process while the ``with`` block runs, and yield the base URL of the API.

    Raises:
        OSError: When the port is taken, or the host cannot be listened on.
        sqlalchemy.exc.DBAPIError: When the database cannot be opened.
    """
    with (
        listen(settings.host, settings.port) as listener,
        in_background(create_application(settings), listener),
    ):
        yield base_url(listener)


@contextmanager
def in_background(
    application: ASGIApp, listener: socket.socket, *, grace: int = GRACE, most: int | None = None
) -> Iterator[None]:
    """Serve any application on a thread of this process while the ``with`` block runs.

    Args:
        application: The application to serve.
        listener: The socket to serve it on.
        grace: Seconds that requests have to finish when the block is left.
        most: The greatest number of connections; ``None``: as many as this process can have.
    """
    server = make_server(application, grace, most)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="hl-sessions-server")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def make_server(application: ASGIApp, grace: int, most: int | None = None) -> uvicorn.Server:
    """Make the HTTP server of an application, to be run with a socket.

    Args:
        application: The application to serve.
        grace: Seconds that requests have to finish when the server is told to end.
        most: The greatest number of connections; ``None``: as many as this process can have.
    """
    config = uvicorn.Config(
        application,
        http=Connection,
        ws="none",
        # The process that serves sets logging up. Warnings and errors reach stderr without uvicorn's setup.
        log_config=None,
        log_level="warning",
        access_log=False,
        # The application handles the headers of proxies itself.
        proxy_headers=False,
        timeout_graceful_shutdown=grace,
    )
    return _Server(config, most or most_connections())


class _Server(uvicorn.Server):
    """A server with a limit of connections, which ends those of slow clients."""

    def __init__(self, config: uvicorn.Config, most: int) -> None:
        super().__init__(config)
        self._connections = Connections(self.server_state, self._make_connection, most)
        self._tasks: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        # Windows has no limit on descriptors, and its event loop cannot watch sockets, so uvicorn accepts
        # there.
        accepts = sys.platform != "win32"
        await super().startup([] if accepts else sockets)
        self._tasks.append(asyncio.create_task(self._connections.end_late_ones()))
        if accepts:
            for listener in sockets or []:
                listener.listen(self.config.backlog)
                listener.settimeout(0)
                self._tasks.append(asyncio.create_task(accept(listener, self._connections)))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer all requests that arrive within half of the remaining time."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._connections.opened()
        grace = self.config.timeout_graceful_shutdown or 0
        asyncio.get_running_loop().call_later(grace / 2, self._connections.end_waiting_ones)
        await super().shutdown(sockets)

    def _make_connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)
