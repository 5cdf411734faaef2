"""Connections to one API, which are kept for later requests. An exchange on one ends with its deadline.

The sockets never block, and belong to no event loop: threads and the tasks of all loops share them.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
import weakref
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hl_sessions.client.addresses import Addresses
from hl_sessions.client.http1 import HTTPAnswer, read_answer
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.outcome import Outcome, popped
from hl_sessions.process.waits import Known, Ready

try:
    import resource
except ImportError:  # Windows, and Pyodide
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from hl_sessions.client.deadline import Deadline

__all__ = ["KEEP_ALIVE", "LONGEST_IDLE_TIME", "Connections", "is_out_of_descriptors", "shut_down"]

MAX_KEPT = 512  # idle connections that are kept; more are made when needed
PART_KEPT = 1 / 8  # of the process's limit on descriptors: the application needs the others
LONGEST_IDLE_TIME = 15.0  # seconds after which a server, or a proxy, may have dropped an idle connection
SILENCE = 1 / 3  # of the remaining time; a kept connection that is silent for so long counts as dead
LOOK_INTERVAL = 0.5  # seconds after which an exchange that waits for a descriptor tries by itself
READ_SIZE = 65536  # bytes
DEFAULT_PORTS = {"http": 80, "https": 443}

#: Socket options by which the system probes whether the other side of a waiting connection is alive.
KEEP_ALIVE: list[tuple[int, int, int]] = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]


class _Connection:
    """A connection, and the bytes that have arrived on it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.buffer = bytearray()
        self.deadline: Deadline
        self.kept_since = 0.0
        self.sent_at = 0.0

    async def connect(self, address: Any, seconds: float) -> None:
        with suppress(BlockingIOError):
            self.socket.connect(address)
        if _is_connected(self.socket):  # to the same machine, it is connected at once
            return
        end = time.monotonic() + seconds
        if self.deadline.is_aborted:  # before the abort could shut the socket down
            raise TimeoutError("the exchange was given up")
        await Ready((), seconds, writing=(self.socket,))
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        if not _is_connected(self.socket):
            if time.monotonic() < end:
                raise ConnectionError("the connection was reset as soon as it was made")
            raise TimeoutError("the connection was not made in time")

    async def secure(self, context: ssl.SSLContext, host: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.socket = context.wrap_socket(self.socket, server_hostname=host, do_handshake_on_connect=False)
        while True:
            remaining = end - time.monotonic()
            if remaining <= 0 or self.deadline.is_aborted:
                raise TimeoutError("the handshake was not over in time")
            try:
                self.socket.do_handshake()
            except ssl.SSLWantReadError:
                await Ready((self.socket,), remaining)
            except ssl.SSLWantWriteError:
                await Ready((), remaining, writing=(self.socket,))
            else:
                return

    async def send(self, data: bytes) -> None:
        self.sent_at = time.monotonic()
        while data:
            try:
                data = data[self.socket.send(data) :]
            except (BlockingIOError, ssl.SSLWantWriteError):  # noqa: PERF203 - sockets signal it like this
                await Ready((), self._remaining(), writing=(self.socket,))
            except ssl.SSLWantReadError:
                await Ready((self.socket,), self._remaining())

    async def fill(self) -> bool:
        while True:
            self._remaining()
            try:
                received = self.socket.recv(READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                await Ready((self.socket,), self._remaining())
            else:
                self.buffer += received
                return bool(received)

    def is_quiet(self) -> bool:
        """Whether nothing has arrived since the last answer, not even the end of the connection."""
        try:
            self.buffer += self.socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def has_begun(self) -> bool:
        """Whether the beginning of an answer has arrived."""
        try:
            received = self.socket.recv(READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError):
            return bool(self.buffer)
        if not received:
            raise ConnectionError("the connection was closed without an answer")
        self.buffer += received
        return True

    def _remaining(self) -> float:
        remaining = self.deadline.remaining()
        if not remaining:
            raise TimeoutError("the answer did not come in time")
        return remaining


class _InUse:
    """The connections of one exchange. An abort shuts them down; the end of the exchange closes them."""

    def __init__(self, deadline: Deadline, exchanges: set[_InUse]) -> None:
        self._deadline = deadline
        self._exchanges = exchanges
        self._connections: list[_Connection] = []

    def __enter__(self) -> Self:
        self._exchanges.add(self)
        self._deadline.on_abort(self._shut_down)
        return self

    def __exit__(self, *_: object) -> None:
        self._exchanges.discard(self)
        # From here on an abort must not shut a connection down: another exchange may have it next.
        self._deadline.end_exchange()
        self.close()

    def close(self) -> None:
        for connection in self._connections:
            connection.socket.close()

    def add(self, connection: _Connection) -> None:
        connection.deadline = self._deadline
        self._connections.append(connection)
        if self._deadline.is_aborted:
            raise TimeoutError("the exchange was given up")

    def has_connection(self) -> bool:
        return bool(self._connections)

    def drop(self, connection: _Connection) -> None:
        self._connections.remove(connection)
        connection.socket.close()

    def release(self, connection: _Connection) -> None:
        """Remove a connection that will be kept."""
        self._deadline.end_exchange()
        self._connections.remove(connection)

    def _shut_down(self) -> None:
        for connection in self._connections.copy():
            shut_down(connection.socket)


class Connections:
    """The connections to one API.

    Args:
        base_url: the URL of the API; only its scheme, host and port are used.
        make_context: makes the TLS context of an ``https`` URL.
    """

    def __init__(self, base_url: str, make_context: Callable[[], ssl.SSLContext]) -> None:
        parts = urlsplit(base_url)
        self._host = parts.hostname or ""
        #: The value of the header ``Host``.
        self.host = parts.netloc.removesuffix(f":{DEFAULT_PORTS[parts.scheme]}")
        self._addresses = Addresses(self._host, parts.port or DEFAULT_PORTS[parts.scheme])
        self._context = make_context() if parts.scheme == "https" else None
        self._is_closed = False
        self._last_time = 0.0
        self._most_kept = _most_to_keep()
        # The most recently used one is at the end. Without a lock, as an interruption may come at any moment.
        self._kept: deque[_Connection] = deque()
        self._exchanges: set[_InUse] = set()
        # Exchanges for which there was no descriptor.
        self._waiting: deque[Outcome[None]] = deque()
        weakref.finalize(self, _close_all, self._kept)
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        # The connections are the parent's. If the child kept them, they would stay open when the parent
        # closes them, and an exchange that still runs in the child could read a part of the parent's answer.
        _close_all(self._kept)
        for exchange in self._exchanges:
            exchange.close()
        self._exchanges.clear()
        self._waiting.clear()

    def close(self) -> None:
        """Close the idle connections, and keep none from now on."""
        self._is_closed = True
        _close_all(self._kept)

    async def exchange(self, request: bytes, deadline: Deadline) -> HTTPAnswer:
        """Send a request, and return the answer.

        A kept connection may have died silently. If nothing arrives on it for a part of the time, the request
        is also sent on a new connection, and the first answer is used.

        Raises:
            TimeoutError: the answer is not complete by the deadline.
            OSError: there is no connection, or it broke.
            MalformedAnswer: the answer is not HTTP, or too long.
        """
        try:
            with _InUse(deadline, self._exchanges) as in_use:
                connection = await self._send(request, deadline, in_use)
                answer = await read_answer(connection)
                self._last_time = time.monotonic() - connection.sent_at
                if not answer.is_last:
                    in_use.release(connection)
                    self._keep(connection)
            return answer
        finally:
            waiting = popped(self._waiting)
            if waiting is not None:
                waiting.set(None)

    async def _send(self, request: bytes, deadline: Deadline, in_use: _InUse) -> _Connection:
        """Send a request, and return the connection on which to read the answer."""
        while (kept := self._take()) is None:
            try:
                connection = await self._connect(deadline, in_use)
            except OSError as error:  # noqa: PERF203 - it is tried again after a wait
                if not is_out_of_descriptors(error) or not self._is_any_connected():
                    raise
                await self._another_one_ends(deadline)
            else:
                await connection.send(request)
                await Ready((connection.socket,), deadline.remaining())
                return connection
        in_use.add(kept)
        deadline.connected()
        # An API that was slow to answer the last time may be slow again.
        patience = min(max(SILENCE * deadline.remaining(), 2 * self._last_time), deadline.remaining() / 2)
        silent_at = time.monotonic() + patience
        try:
            await kept.send(request)
            # With TLS, the arrived bytes may be only a ticket, or a part of a record.
            while (seconds := silent_at - time.monotonic()) > 0:
                await Ready((kept.socket,), seconds)
                if kept.has_begun():
                    return kept
        except OSError:  # faster than suppress()
            pass
        if deadline.is_aborted:
            raise TimeoutError("the exchange was given up")
        return await self._send_again(request, kept, deadline, in_use)

    def _is_any_connected(self) -> bool:
        return any(exchange.has_connection() for exchange in self._exchanges.copy())

    async def _another_one_ends(self, deadline: Deadline) -> None:
        is_due: Outcome[None] = Outcome()
        self._waiting.append(is_due)
        deadline.on_abort(partial(is_due.set, None))
        try:
            await Known(is_due, min(deadline.remaining(), LOOK_INTERVAL))
        finally:
            with suppress(ValueError):  # removed already, as it was its turn
                self._waiting.remove(is_due)

    async def _send_again(
        self, request: bytes, silent: _Connection, deadline: Deadline, in_use: _InUse
    ) -> _Connection:
        fresh = await self._connect(deadline, in_use)
        await fresh.send(request)
        racing = [fresh, silent]
        while True:
            await Ready([connection.socket for connection in racing], deadline.remaining())
            for connection in racing.copy():
                try:
                    if connection.has_begun():
                        return connection
                except OSError:  # noqa: PERF203 - the other connection may still answer
                    if connection is fresh:
                        raise
                    racing.remove(connection)
            if not deadline.remaining():
                raise TimeoutError("the answer did not come in time")

    async def _connect(self, deadline: Deadline, in_use: _InUse) -> _Connection:
        addresses = await self._addresses.look_up(deadline)
        failure: OSError = TimeoutError("no time was left to make a connection")
        end = time.monotonic() + deadline.connect_timeout
        for position, (family, address) in enumerate(addresses):
            seconds = (end - time.monotonic()) / (len(addresses) - position)
            if seconds <= 0:
                break
            connection = _Connection(_nonblocking_socket(family))
            in_use.add(connection)
            try:
                await connection.connect(address, seconds)
                if self._context is not None:
                    await connection.secure(self._context, self._host, end - time.monotonic())
            except OSError as error:
                failure = error
                in_use.drop(connection)
            else:
                deadline.connected()
                return connection
        raise failure

    def _take(self) -> _Connection | None:
        oldest = time.monotonic() - LONGEST_IDLE_TIME
        while (connection := _last(self._kept)) is not None:
            if connection.kept_since > oldest and connection.is_quiet():
                return connection
            connection.socket.close()
        return None

    def _keep(self, connection: _Connection) -> None:
        connection.kept_since = now = time.monotonic()
        self._kept.append(connection)
        while (oldest := popped(self._kept)) is not None:
            if len(self._kept) < self._most_kept and oldest.kept_since > now - LONGEST_IDLE_TIME:
                self._kept.appendleft(oldest)
                break
            oldest.socket.close()
        if self._is_closed:  # meanwhile
            _close_all(self._kept)


def _most_to_keep() -> int:
    if resource is None:
        return MAX_KEPT
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors == resource.RLIM_INFINITY:
        return MAX_KEPT
    return min(MAX_KEPT, int(descriptors * PART_KEPT))


def _close_all(connections: deque[_Connection]) -> None:
    while (connection := popped(connections)) is not None:
        connection.socket.close()


def _last(connections: deque[_Connection]) -> _Connection | None:
    try:
        return connections.pop()
    except IndexError:
        return None


def _nonblocking_socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)  # noqa: FBT003
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in KEEP_ALIVE:
        sock.setsockopt(*option)
    return sock


def is_out_of_descriptors(error: BaseException) -> bool:
    """Whether the process, or the system, has no file descriptor left."""
    return isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}


def shut_down(sock: socket.socket) -> None:
    """Shut a connection down, from any thread, so that waits for it end."""
    with suppress(OSError):  # it is not connected yet, or not any more
        if isinstance(sock, ssl.SSLSocket):
            # Not by its own method: that removes TLS, and another thread would send unencrypted data.
            super(ssl.SSLSocket, sock).shutdown(socket.SHUT_RDWR)
        else:
            sock.shutdown(socket.SHUT_RDWR)


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
