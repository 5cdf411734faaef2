"""A server that misbehaves in every way, and a name server that keeps its answer back."""

import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.waiting import wait_until


class Wire:
    """The server's end of one connection."""

    def __init__(self, server: "FaultServer", connection: socket.socket) -> None:
        self.server = server
        self.connection = connection

    def read_request(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            received = self.connection.recv(1)
            if not received:
                raise ConnectionResetError
            head += received
        return head

    def send(self, *parts: bytes) -> None:
        self.connection.sendall(b"".join(parts))

    def drip(self, data: bytes) -> None:
        """Each byte comes well within the time limit, all of them do not."""
        for number in range(len(data)):
            self.send(data[number : number + 1])
            if self.server.stopped.wait(0.05):
                return

    def send_for_ever(self, data: bytes) -> None:
        while not self.server.stopped.is_set():
            self.send(data)

    def say_no_more(self) -> None:
        self.connection.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def wait_until_closed(self) -> None:
        with suppress(OSError):
            while self.connection.recv(65536):
                pass


Play = Callable[[Wire], None]


def is_anybody_looking_up() -> bool:
    """Whether a client has a thread that looks a name up."""
    return any(thread.name == "hl-sessions-look-up" for thread in threading.enumerate())


class FaultServer:
    """Plays one and the same thing on each connection, then waits for the client to close it."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.opened = 0
        self.stopped = threading.Event()
        self._open = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._arrivals = selectors.DefaultSelector()
        self._arrivals.register(self._listener, selectors.EVENT_READ)
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def base_url(self) -> str:
        return f"http://{self.address}/v4"

    def _accept(self) -> None:
        while True:
            self._arrivals.select()
            with self._lock:  # a connection is either still to be taken, or counted
                connection, _ = self._listener.accept()
                if self.stopped.is_set():
                    connection.close()
                    return
                self.opened += 1
                self._open += 1
                self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        wire = Wire(self, connection)
        with suppress(OSError), connection:
            with suppress(OSError):
                self.play(wire)
            wire.wait_until_closed()
        with self._lock:
            self._open -= 1

    def wait_until_all_closed(self) -> None:
        """Wait until the client has closed every connection that it has made, or is still making."""
        wait_until(lambda: not is_anybody_looking_up() and self._has_no_connection())

    def _has_no_connection(self) -> bool:
        with self._lock:
            return not self._open and not self._arrivals.select(0)

    def close(self) -> None:
        self.stopped.set()
        # The thread waits for a connection: this one wakes it up, at once and on every system.
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._arrivals.close()
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not self._open)


@contextmanager
def refusing_address() -> Iterator[str]:
    """A port where no server listens, and no other process can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


class Resolver:
    """A name server that answers when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self._getaddrinfo = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)

    def resolve(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        self.asked.set()
        self.go_on.wait()
        return self._getaddrinfo("127.0.0.1", port, *args, **options)
