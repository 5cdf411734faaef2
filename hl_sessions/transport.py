"""HTTP within a total time limit.

The time-outs of ``requests`` and urllib3 hold for each socket operation and each attempt: an answer
that drips, a slow name server or a retry goes on beyond them. Here one :class:`Deadline` covers an
exchange from the first name look-up to the last byte of the body, over all attempts.
"""

from __future__ import annotations

import functools
import io
import math
import random
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from email.utils import mktime_tz, parsedate_tz
from http.client import HTTPResponse, LineTooLong
from queue import Empty
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, ResponseError
from urllib3.util import Retry, Timeout

from hl_sessions.reentry import creating

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from http.client import HTTPMessage

__all__ = ["Deadline", "DeadlineAdapter", "DeadlineRetry", "retry_after_seconds"]

BACKOFF_START = 0.1  # seconds before the second attempt, doubled for each further one
BACKOFF_MAX = 2.0  # seconds
RETRY_AFTER_MAX = 10.0  # seconds: an API that wants more than this gets no further attempt
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
LONGEST_TIMEOUT = 1e6  # seconds: sockets cannot count much further
MAX_LINE = 65536  # bytes, as in http.client
MAX_UNREAD = 65536  # bytes that are read in order to use a connection again
POOL_SIZE = 32  # connections kept open; more are made when needed and closed after use


class Deadline(Timeout):
    """The end of one exchange, shared by all of its attempts.

    Args:
        seconds: from now until the end.
        connect: the most seconds that making a connection may take, within ``seconds``.
        rest: the most seconds from the first connection made until the end, within ``seconds``.
    """

    def __init__(self, seconds: float, connect: float | None = None, rest: float | None = None) -> None:
        super().__init__()
        self._seconds = min(seconds, LONGEST_TIMEOUT)
        self._end = time.monotonic() + self._seconds
        self._connect_limit = seconds if connect is None else connect
        self._rest = rest
        self.is_aborted = False
        self._wake: Callable[[], object] | None = None

    def abort(self) -> None:
        """End now, from another thread: who waits stops waiting, and nothing is tried again."""
        self.is_aborted = True
        self._end = 0.0
        if self._wake is not None:
            with suppress(OSError):  # the connection is closed already
                self._wake()

    def on_abort(self, wake: Callable[[], object]) -> None:
        """Have ``wake`` end the wait that comes next, if the deadline is aborted in it or has been before."""
        self._wake = wake
        if self.is_aborted:
            self.abort()

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Wait for ``event``, at most ``seconds``, or until the deadline is aborted."""
        self.on_abort(event.set)
        event.wait(seconds)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def is_late(self) -> bool:
        """Whether less than half of the time is left."""
        return 2 * self.remaining() < self._seconds

    def clone(self) -> Deadline:
        """Itself: urllib3 clones a time-out for each attempt, and the attempts share this one."""
        return self

    def start_connect(self) -> float:
        """Nothing to start: the clock has been running since the deadline was made."""
        return self._end

    @property
    def connect_timeout(self) -> float:
        """Seconds that making a connection may take from now on."""
        return min(self.remaining(), self._connect_limit)

    @property
    def read_timeout(self) -> float:
        """Seconds that the rest of the exchange may take from now on, as there is a connection now."""
        if self._rest is not None:
            self._end = min(self._end, time.monotonic() + self._rest)
            self._rest = None
        return self.remaining()


class _DeadlineReader(io.RawIOBase):
    """The bytes of a socket until its time-out, counted from here on, is over."""

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
    """The one method of a socket that ``http.client`` asks a response's socket for."""

    def __init__(self, reader: _DeadlineReader) -> None:
        self._reader = reader

    def makefile(self, _mode: str) -> io.BufferedReader:
        return _BoundedLines(self._reader)


class _BoundedLines(io.BufferedReader):
    """Ends a line that goes on and on: urllib3 would keep all of the line before a chunk."""

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(MAX_LINE + 1 if size is None or size < 0 else size)
        if len(line) > MAX_LINE:
            raise LineTooLong("chunk size")
        return line


class _DeadlineConnect:
    """Connects in a thread, as neither a name look-up nor a TLS handshake has a total time limit."""

    response_class = _DeadlineResponse
    timeout: float
    deadline: Deadline | None = None  # that of the exchange under way
    outcome: Future[None] | None = None  # of the last thread that connects
    sock: socket.socket

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        shutdown = getattr(self.sock, "shutdown", None)  # which TLS within TLS does not have
        if self.deadline is not None and shutdown is not None:
            self.deadline.on_abort(functools.partial(shutdown, socket.SHUT_RDWR))
        return super().getresponse(*args, **kwargs)  # type: ignore[misc]

    def connect(self) -> None:
        if self.timeout <= 0:  # which a socket takes for: do not wait
            raise ConnectTimeoutError(self, "no time was left to make a connection")
        outcome: Future[None] = Future()
        self.outcome = outcome
        is_over = threading.Event()
        connect = super().connect  # type: ignore[misc]

        def run() -> None:
            try:
                with creating():
                    connect()
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                outcome.set_exception(error)
            else:
                outcome.set_result(None)
            is_over.set()

        # An empty context: nothing that runs there may wait for the session being created here.
        threading.Thread(target=Context().run, args=(run,), name="hl-sessions-connect", daemon=True).start()
        if self.deadline is None:  # a tunnel through a proxy
            is_over.wait(self.timeout)
        else:
            self.deadline.wait(is_over, self.timeout)
        if not outcome.done():
            raise ConnectTimeoutError(self, "the connection was not made in time")
        outcome.result()

    def close(self) -> None:
        """Close, but not before the thread that connects has ended: it would leave an open socket behind."""
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
    """Tells the retries and the connection of an exchange about its deadline."""

    def urlopen(self, *args: Any, **kwargs: Any) -> Any:
        retries, deadline = kwargs.get("retries"), kwargs.get("timeout")
        if isinstance(deadline, Deadline):
            if not deadline.remaining():  # on a kept connection the request would be sent nevertheless
                raise ConnectTimeoutError(self, "no time was left for another attempt")
            if isinstance(retries, DeadlineRetry):  # not in a further attempt, which has those of the first
                kwargs["retries"] = retries.within(deadline)
        kwargs["enforce_content_length"] = True  # the default of urllib3 2, not of 1.26
        return super().urlopen(*args, **kwargs)  # type: ignore[misc]

    def _make_request(self, *args: Any, **kwargs: Any) -> Any:
        connection, deadline = args[0], kwargs.get("timeout")
        connection.deadline = deadline if isinstance(deadline, Deadline) else None
        return super()._make_request(*args, **kwargs)  # type: ignore[misc]


class _Pool(_DeadlinePool, HTTPConnectionPool):
    ConnectionCls = _Connection  # type: ignore[assignment]


class _SecurePool(_DeadlinePool, HTTPSConnectionPool):
    ConnectionCls = _SecureConnection  # type: ignore[assignment]


class DeadlineAdapter(HTTPAdapter):
    """The adapter, for one API, that keeps an exchange within the :class:`Deadline` passed as ``timeout``."""

    def __init__(self, retries: int) -> None:
        self._pool: Any = None
        super().__init__(
            pool_connections=1,
            pool_maxsize=POOL_SIZE,
            max_retries=DeadlineRetry(
                total=retries,
                allowed_methods=None,
                status_forcelist=RETRIED_STATUSES,
                redirect=0,
                respect_retry_after_header=False,  # which would have 413 retried, too
                raise_on_status=False,
            ),
        )

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Give the pool of connections to the API, found once: it costs a tenth of a request."""
        if self._pool is None:
            self._pool = super().get_connection_with_tls_context(*args, **kwargs)
        return self._pool

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:  # noqa: D102
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # which has connections of its own
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager

    def close(self) -> None:
        """Close the connections that no exchange is using; urllib3 leaves that to the garbage collection.

        An exchange that is under way goes on, and its connection is kept: call this after it, too.
        """
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for pool in map(manager.pools.get, manager.pools.keys()):
                with suppress(Empty):
                    while True:
                        connection = pool.pool.get(block=False)
                        if connection is not None:
                            connection.close()


def retry_after_seconds(headers: Mapping[str, str] | HTTPMessage) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait, given as a number or a date; else ``None``."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        seconds = float(value)
        return seconds if math.isfinite(seconds) else None
    date = parsedate_tz(value)
    if date is None:
        return None
    try:
        return max(0.0, mktime_tz((*date[:9], date[9] or 0)) - time.time())
    except (ValueError, OverflowError):
        return None


class DeadlineRetry(Retry):
    """Retries with exponential backoff and jitter, or when ``Retry-After`` says, within a deadline.

    An attempt that could only start after the deadline, or after :data:`RETRY_AFTER_MAX`, is not
    waited for: the failure or the answer at hand is given at once.
    """

    deadline: Deadline | None = None
    delay = 0.0

    def within(self, deadline: Deadline) -> DeadlineRetry:
        """The same retries for one exchange."""
        retry = self.new()
        retry.deadline = deadline
        return retry

    def increment(  # noqa: D102
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> DeadlineRetry:
        retry = super().increment(method, url, response, error, _pool, _stacktrace)
        retry.deadline = self.deadline
        retry.delay = retry._next_delay(response)
        limit = RETRY_AFTER_MAX if self.deadline is None else min(RETRY_AFTER_MAX, self.deadline.remaining())
        if retry.delay >= limit:
            raise MaxRetryError(_pool, url or "", error or ResponseError("no time for another attempt"))
        # What is left of it is going to be read into memory before the next attempt.
        if response is not None and (
            response.length_remaining is None or response.length_remaining > MAX_UNREAD
        ):
            response.close()
        return retry

    def _next_delay(self, response: Any) -> float:
        asked = None if response is None else retry_after_seconds(response.headers)
        if asked is not None:
            return asked
        backoff: float = min(BACKOFF_MAX, BACKOFF_START * 2 ** (len(self.history) - 1))
        return backoff * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret

    def sleep(self, response: Any = None) -> None:  # noqa: ARG002, D102
        if self.deadline is None:
            time.sleep(self.delay)
        else:
            self.deadline.wait(threading.Event(), self.delay)
