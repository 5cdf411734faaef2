"""The adapter for ``requests``, by which an exchange ends with its deadline."""

from __future__ import annotations

import functools
import io
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from http.client import HTTPResponse, LineTooLong
from queue import Empty
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError
from urllib3.util import Timeout

from hl_sessions.client.connections import KEEP_ALIVE, shut_down
from hl_sessions.process.reentry import creating
from hl_sessions.process.threads import start_thread

if TYPE_CHECKING:
    import socket

    from requests import PreparedRequest, Response

    from hl_sessions.client.deadline import Deadline

__all__ = ["DeadlineAdapter"]

MAX_LINE = 65536  # bytes, as in http.client
_DEFAULT_OPTIONS = getattr(HTTPConnection, "default_socket_options", ())  # Pyodide has none, and no sockets
POOL_SIZE = 32  # connections kept open; more are made when needed and closed after use


class _DeadlineTimeout(Timeout):
    """A deadline in the form of a time-out of urllib3."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.deadline = deadline

    def clone(self) -> _DeadlineTimeout:
        """Return itself: urllib3 clones a time-out for each attempt, and all attempts share this one."""
        return self

    def start_connect(self) -> float:
        """Do nothing: the clock runs since the deadline was made."""
        return 0.0

    @property
    def connect_timeout(self) -> float:
        return self.deadline.connect_timeout

    @property
    def read_timeout(self) -> float:
        return self.deadline.connected()


class _DeadlineReader(io.RawIOBase):
    """Reads the bytes of a socket until its time-out, which begins with this object, is over."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._raw = sock.makefile("rb", buffering=0)
        timeout = sock.gettimeout()
        self._end = None if timeout is None else time.monotonic() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._end is not None:
            remaining = self._end - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("timed out")
            self._socket.settimeout(remaining)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(HTTPResponse):
    """Reads status line, headers and body within one time-out instead of one for each read."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(_AsFile(_DeadlineReader(sock)), *args, **kwargs)  # type: ignore[arg-type]


class _AsFile:
    """An object with ``makefile``, the only method of a socket that a response of ``http.client`` calls."""

    def __init__(self, reader: _DeadlineReader) -> None:
        self._reader = reader

    def makefile(self, _mode: str) -> io.BufferedReader:
        return _BoundedLines(self._reader)


class _BoundedLines(io.BufferedReader):
    """Refuses an endless line: urllib3 would keep the whole line before a chunk."""

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(MAX_LINE + 1 if size is None or size < 0 else size)
        if len(line) > MAX_LINE:
            raise LineTooLong("chunk size")
        return line


class _DeadlineConnect:
    """Connects in a thread, as neither a name look-up nor a TLS handshake has a total time limit."""

    response_class = _DeadlineResponse
    timeout: float
    deadline: Deadline | None = None  # of the exchange under way
    outcome: Future[None] | None = None  # of the last thread that has connected
    sock: socket.socket

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        if self.deadline is not None and hasattr(self.sock, "shutdown"):  # TLS within TLS has none
            self.deadline.on_abort(functools.partial(shut_down, self.sock))
        return super().getresponse(*args, **kwargs)  # type: ignore[misc]

    def connect(self) -> None:
        if self.timeout <= 0:  # a socket would take it for: do not wait
            raise ConnectTimeoutError(self, "no time was left to make a connection")
        outcome: Future[None] = Future()
        self.outcome = outcome
        is_over = threading.Event()
        connect = super().connect  # type: ignore[misc]

        def run() -> None:
            try:
                with creating():
                    connect()
            except BaseException as error:  # noqa: BLE001 - passed to the waiting thread
                outcome.set_exception(error)
            else:
                outcome.set_result(None)
            is_over.set()

        # If no thread can be started, connecting has only the time limits of its steps.
        if start_thread(run, "hl-sessions-connect") is None:
            run()
        if self.deadline is None:  # a tunnel through a proxy
            is_over.wait(self.timeout)
        else:
            self.deadline.wait(is_over, self.timeout)
        if not outcome.done():
            raise ConnectTimeoutError(self, "the connection was not made in time")
        outcome.result()

    def close(self) -> None:
        """Close, after the connecting thread has ended, which would else leave an open socket behind."""
        close = super().close  # type: ignore[misc]
        if self.outcome is None or self.outcome.done():
            close()
        else:
            self.outcome.add_done_callback(lambda _: close())


class _Connection(_DeadlineConnect, HTTPConnection):  # type: ignore[misc]
    pass


class _SecureConnection(_DeadlineConnect, HTTPSConnection):  # type: ignore[misc]
    pass


class _DeadlinePool:
    """Passes the deadline of an exchange to its connection."""

    def urlopen(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["enforce_content_length"] = True  # the default of urllib3 2, not of 1.26
        return super().urlopen(*args, **kwargs)  # type: ignore[misc]

    def _make_request(self, *args: Any, **kwargs: Any) -> Any:
        connection, timeout = args[0], kwargs.get("timeout")
        connection.deadline = timeout.deadline if isinstance(timeout, _DeadlineTimeout) else None
        return super()._make_request(*args, **kwargs)  # type: ignore[misc]


class _Pool(_DeadlinePool, HTTPConnectionPool):
    ConnectionCls = _Connection  # type: ignore[assignment]


class _SecurePool(_DeadlinePool, HTTPSConnectionPool):
    ConnectionCls = _SecureConnection  # type: ignore[assignment]


class DeadlineAdapter(HTTPAdapter):
    """The adapter, for one API, that keeps an exchange within the :class:`Deadline` passed as ``timeout``."""

    def __init__(self) -> None:
        self._pool: Any = None
        self._lock = threading.RLock()
        super().__init__(pool_connections=1, pool_maxsize=POOL_SIZE)

    def send(self, request: PreparedRequest, *args: Any, timeout: Any = None, **kwargs: Any) -> Response:
        """Send the request, and return the answer once its head has arrived."""
        timeout = _DeadlineTimeout(timeout)
        return super().send(request, *args, timeout=timeout, **kwargs)  # type: ignore[misc]

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        options = [*_DEFAULT_OPTIONS, *KEEP_ALIVE]
        super().init_poolmanager(*args, **{**kwargs, "socket_options": options})
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool of connections to the API, cached: looking it up costs a tenth of a request."""
        with self._lock:  # simultaneous first calls would make several pools, and close all but one
            if self._pool is None:
                self._pool = super().get_connection_with_tls_context(*args, **kwargs)
            return self._pool

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:  # noqa: D102
        options = [*_DEFAULT_OPTIONS, *KEEP_ALIVE]
        manager = super().proxy_manager_for(proxy, **{**kwargs, "socket_options": options})
        if not proxy.lower().startswith("socks"):  # a SOCKS proxy has its own kind of connections
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager

    def close(self) -> None:
        """Close the idle connections, which urllib3 leaves to the garbage collection.

        An exchange that is under way goes on, and its connection is kept: call this again after it.
        """
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for pool in map(manager.pools.get, manager.pools.keys()):
                with suppress(Empty):
                    while True:
                        connection = pool.pool.get(block=False)
                        if connection is not None:
                            connection.close()
