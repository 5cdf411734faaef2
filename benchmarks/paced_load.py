"""Requests at a steady rate, whether or not the ones before are answered, from a process of their own."""

from __future__ import annotations

import select
import socket
from collections import deque
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.client_process import client_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

__all__ = ["PacedLoad", "paced_load"]

ANSWER = b"\r\n\r\nok"  # how it ends
_LONGEST_TURN = 120  # seconds


class PacedLoad:
    """The side that gives work to the process of the client."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def send(self, path: str, number: int, rate: float) -> list[float]:
        """Send so many requests, so many a second; return the seconds from when each is due to its answer."""
        self._pipe.send((path, number, rate))
        if not self._pipe.poll(_LONGEST_TURN):
            raise TimeoutError(f"{path} was not answered {number} times in {_LONGEST_TURN} s")
        latencies: list[float] = self._pipe.recv()
        return latencies


@contextmanager
def paced_load(address: tuple[str, int], *, connections: int) -> Iterator[PacedLoad]:
    """Run a client that keeps so many connections open: as many requests are under way at the most."""
    with client_process(_run, address, connections) as pipe:
        yield PacedLoad(pipe)


def _run(address: tuple[str, int], connections: int, pipe: Connection) -> None:
    with ExitStack() as stack:
        free = [stack.enter_context(socket.create_connection(address)) for _ in range(connections)]
        for connection in free:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            path, number, rate = pipe.recv()
            pipe.send(_latencies(free, path, number, rate))


def _latencies(free: list[socket.socket], path: str, number: int, rate: float) -> list[float]:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode()
    begun = perf_counter() + 0.01
    due = deque(begun + position / rate for position in range(number))
    sent: dict[socket.socket, float] = {}
    received = dict.fromkeys(free, b"")
    latencies: list[float] = []
    while due or sent:
        while due and free and due[0] <= perf_counter():
            connection = free.pop()
            sent[connection] = due.popleft()
            connection.sendall(request)
        pause = max(0.0, due[0] - perf_counter()) if due and free else _LONGEST_TURN
        # Event loops round such pauses up to milliseconds.
        for connection in select.select(list(sent), [], [], pause)[0]:
            data = connection.recv(65536)
            answer = received[connection] = received[connection] + data
            if not data or not answer.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(f"{path} was answered with {answer!r}")
            if not answer.endswith(ANSWER):
                continue
            received[connection] = b""
            latencies.append(perf_counter() - sent.pop(connection))
            free.append(connection)
    return latencies
