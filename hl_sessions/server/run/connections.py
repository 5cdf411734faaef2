"""The connections of an HTTP server: how long clients may take, and who goes when there are too many."""

import asyncio
import logging
import socket
from collections.abc import Callable
from operator import itemgetter
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.server import ServerState

from hl_sessions.server.http.rarely import Rarely
from hl_sessions.server.run.descriptors import limit

if TYPE_CHECKING:
    # The other one, for httptools, has all of it that is used here.
    from uvicorn.protocols.http.h11_impl import H11Protocol as HTTPProtocol
else:
    HTTPProtocol = AutoHTTPProtocol

TIME_TO_SEND: Final = 60.0
"""Seconds from the begin of a connection, or the end of an answer, in which a request has to have arrived."""

SLOWEST: Final = 4096
"""Bytes of a body that earn one second more."""

TIME_TO_TAKE: Final = 60.0
"""Seconds in which a client has to have taken something of its answer."""

MOST: Final = 4096
"""How many connections a process has at most."""

FEWEST: Final = 16
"""How many it has at least, and what is enough for a port that few use."""

_OTHER_DESCRIPTORS: Final = 64
"""What else a process has open: the database, the log, files of the page."""

_GRACE: Final = 0.5
"""Seconds in which nobody has to go who has just come, or was just answered: a request may be on its way."""

_SHARE: Final = 8
"""One of so many connections goes at a time, and not a single one: each time all are looked through."""

_PAUSE: Final = 0.05
"""Seconds until there is another look for room."""

_TICK: Final = 1.0
"""Seconds from one look at all connections to the next."""

_logger = logging.getLogger(__name__)


class Connection(HTTPProtocol):
    """A connection that knows how long its client takes.

    Attributes:
        waits_since: When, by ``time.monotonic``, it began or its last answer ended.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        self._unsent, self._unsent_since = 0, 0.0
        self._begin_to_wait()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Count what arrives."""
        self._received += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._begin_to_wait()
        super().on_response_complete()

    @property
    def progress(self) -> tuple[float, int]:
        """What changes with each byte that comes, and with each answer."""
        return self.waits_since, self._received

    @property
    def due(self) -> float:
        """When, by ``time.monotonic``, the request has to have arrived; the later the more of it there is."""
        is_arriving = self.cycle is not None and not self.cycle.response_complete
        earned = self._received / SLOWEST if is_arriving else 0.0
        return self.waits_since + TIME_TO_SEND + earned

    def waits(self) -> bool:
        """Tell whether nothing happens until the client sends something."""
        if self.transport.is_closing() or self._length_of_unsent():
            return False
        if self.flow.read_paused or getattr(self, "pipeline", None):
            # There is more than the server has got to.
            return False
        request = self.cycle
        if request is None or request.response_complete:
            return True
        return request.more_body and not request.response_started

    def is_late(self, now: float) -> bool:
        """Tell whether the client has taken too long to send a request, or to take what was answered.

        Args:
            now: The time, by ``time.monotonic``; no more than the two limits may pass between two calls.
        """
        unsent = self._length_of_unsent()
        if unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        if unsent:
            return now - self._unsent_since > TIME_TO_TAKE
        return self.waits() and now > self.due

    def end(self) -> None:
        """End it at once."""
        self.transport.abort()

    def _begin_to_wait(self) -> None:
        self.waits_since = monotonic()
        self._received = 0

    def _length_of_unsent(self) -> int:
        return self.transport.get_write_buffer_size()


class Connections:
    """All connections of an HTTP server.

    Args:
        state: What the server shares with them.
        make: Makes one that is to be connected.
        most: How many there may be.
    """

    def __init__(self, state: ServerState, make: Callable[[], asyncio.Protocol], most: int) -> None:
        self._state = state
        self._make = make
        self._most = most
        self._opening: set[asyncio.Task[None]] = set()
        self._full = Rarely()

    @property
    def room(self) -> int:
        """How many more there may be."""
        return self._most - len(self._state.connections) - len(self._opening)

    def open(self, accepted: socket.socket) -> None:
        """Begin to serve a client."""
        opening = asyncio.get_running_loop().create_task(self._open(accepted))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def opened(self) -> None:
        """Wait for those that have been accepted."""
        if self._opening:
            await asyncio.wait(self._opening)

    async def make_room(self) -> None:
        """Say that there is none, and end those that have been waited for the longest."""
        if self._full.is_time():
            _logger.warning(
                "no more than %s connections are served at once: those that send nothing, or take long, are "
                "closed, and others wait; the limit on open files is %s",
                self._most,
                limit(),
            )
        # Until the server makes these headers anew, within a second, whoever is answered goes by itself.
        if CLOSE_HEADER not in self._state.default_headers:
            self._state.default_headers.append(CLOSE_HEADER)
        recently = monotonic() - _GRACE
        waiting = [
            (connection.due, connection.progress, connection)
            for connection in self._all()
            if connection.waits_since < recently and connection.waits()
        ]
        waiting.sort(key=itemgetter(0))
        chosen = waiting[: self._most // _SHARE]
        # In the meantime all is read that has arrived: it may be that only the server is late.
        await asyncio.sleep(_PAUSE)
        for _due, progress, connection in chosen:
            if connection.waits() and connection.progress == progress:
                connection.end()
        # They are gone in the next turn of the loop.
        await asyncio.sleep(0)

    async def end_late_ones(self) -> None:
        """End, for ever, those whose client takes too long."""
        while True:
            await asyncio.sleep(_TICK)
            now = monotonic()
            for connection in self._all():
                if connection.is_late(now):
                    connection.end()

    def end_waiting_ones(self) -> None:
        """End those whose client has not sent a whole request."""
        for connection in self._all():
            if connection.waits():
                connection.end()

    def _all(self) -> list[Connection]:
        connections: set[Any] = self._state.connections
        return list(connections)

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make, accepted)
        except OSError:
            # It has gone already.
            accepted.close()


def most_connections() -> int:
    """Return how many connections this process can have, by its limit on open files."""
    return max(FEWEST, min(MOST, limit() - _OTHER_DESCRIPTORS))
