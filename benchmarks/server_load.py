"""Many clients at once, in a process of their own: each sends its next request when it has its answer."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from itertools import cycle, islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.client_process import client_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from benchmarks.measure import Run

__all__ = ["Load", "load"]

_LONGEST_TURN = 60  # seconds


class Load:
    """The side that gives work to the process of the clients."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        #: The seconds that each request of the last turn took.
        self.latencies: list[float] = []

    def requests(self, method: str, path: str, body: bytes = b"") -> Run:
        """Return a run that sends this request so often, from all clients together."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        request = head.encode() + body
        return lambda number: self.send([request] * number)

    def send(self, requests: Sequence[bytes]) -> float:
        """Send each request once, from all clients together; return the seconds until all are answered."""
        self._pipe.send(requests)
        first_line = requests[0].partition(b"\r\n")[0].decode()
        if not self._pipe.poll(_LONGEST_TURN):
            raise TimeoutError(f"{first_line} was not answered {len(requests)} times in {_LONGEST_TURN} s")
        seconds, self.latencies, problem = self._pipe.recv()
        if problem is not None:
            raise ConnectionError(f"{first_line} was answered with {problem!r}")
        return float(seconds)


@contextmanager
def load(*addresses: tuple[str, int], connections: int) -> Iterator[Load]:
    """Run clients that keep as many connections open, to each address in turn."""
    with client_process(_run, addresses, connections) as pipe:
        yield Load(pipe)


def _run(addresses: Sequence[tuple[str, int]], connections: int, pipe: Connection) -> None:
    uvloop.run(_clients(addresses, connections, pipe))


async def _clients(addresses: Sequence[tuple[str, int]], connections: int, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    clients = [await _connected(address) for address in islice(cycle(addresses), connections)]
    while True:
        turn = _Turn(await loop.run_in_executor(None, pipe.recv), loop.create_future())
        for position, address in enumerate(islice(cycle(addresses), connections)):
            if clients[position].is_closed:  # servers close those that idle
                clients[position] = await _connected(address)
        started = perf_counter()
        for client in clients:
            client.take_part(turn)
        problem = await turn.ended
        pipe.send((perf_counter() - started, turn.latencies, problem))


async def _connected(address: tuple[str, int]) -> _Client:
    return (await asyncio.get_running_loop().create_connection(_Client, *address))[1]


class _Turn:
    """Requests, shared by the clients."""

    def __init__(self, requests: list[bytes], ended: asyncio.Future[bytes | None]) -> None:
        self.to_send = requests
        self.to_receive = len(requests)
        self.latencies: list[float] = []
        self.ended = ended


class _Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.is_closed = False
        self._received = b""
        self._is_waiting = False
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def take_part(self, turn: _Turn) -> None:
        self._turn = turn
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        answer, self._received = self._received, b""
        turn = self._turn
        turn.to_receive -= 1
        turn.latencies.append(perf_counter() - self._sent_at)
        if not turn.ended.done() and (not turn.to_receive or not answer.startswith(b"HTTP/1.1 2")):
            turn.ended.set_result(None if answer.startswith(b"HTTP/1.1 2") else answer)
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        self.is_closed = True
        if self._is_waiting and not self._turn.ended.done():
            self._turn.ended.set_result(b"a closed connection")

    def _send(self) -> None:
        self._is_waiting = bool(self._turn.to_send)
        if self._is_waiting:
            self._sent_at = perf_counter()
            self._transport.write(self._turn.to_send.pop())
