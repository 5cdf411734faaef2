"""A minimal sessions API in a separate process, which takes no time from the measured one."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SessionsAPI", "listening_socket", "sessions_api"]

_REQUEST = re.compile(rb"POST (?:.*\r\n)+?content-length: *(\d+)\r\n(?:.+\r\n)*\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class SessionsAPI:
    """Its address, and the work that it has done."""

    base_url: str
    counter: Any

    @property
    def url(self) -> str:
        """Where sessions are created."""
        return f"{self.base_url}/sessions"

    @property
    def posts(self) -> int:
        """How many POSTs have arrived."""
        return int(self.counter.value)


@contextmanager
def sessions_api(latency: float = 0.0) -> Iterator[SessionsAPI]:
    """Run a sessions API on the loopback that answers each POST after ``latency`` seconds."""
    processes = multiprocessing.get_context("spawn")
    counter = processes.Value("Q", 0)
    with listening_socket() as listener:
        process = processes.Process(target=_run, args=(listener, latency, counter), daemon=True)
        process.start()
        try:
            yield SessionsAPI(f"http://127.0.0.1:{listener.getsockname()[1]}/v4", counter)
        finally:
            process.terminate()
            process.join()


def listening_socket() -> socket.socket:
    """Return a socket for a server process; connections to it wait until that process is ready."""
    return socket.create_server(("127.0.0.1", 0), backlog=512)


def _run(listener: socket.socket, latency: float, counter: Any) -> None:
    asyncio.run(_serve(listener, latency, counter))


async def _serve(listener: socket.socket, latency: float, counter: Any) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(loop, latency, counter), sock=listener)
    await server.serve_forever()


class _Connection(asyncio.Protocol):
    def __init__(self, loop: asyncio.AbstractEventLoop, latency: float, counter: Any) -> None:
        self._loop = loop
        self._latency = latency
        self._counter = counter
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = _REQUEST.match(self._received)
        if head is None or len(self._received) < (end := head.end() + int(head[1])):
            return
        self._received = self._received[end:]
        self._counter.value += 1
        if self._latency:
            self._loop.call_later(self._latency, self._answer, self._counter.value)
        else:
            self._answer(self._counter.value)

    def _answer(self, number: int) -> None:
        body = b'{"id": "sesh_%d"}' % number
        self._transport.write(
            b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
