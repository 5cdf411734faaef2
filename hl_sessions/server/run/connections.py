"""Holds all connections of an HTTP server, and ends slow ones, or more of them when there are too many."""

import asyncio
import logging
import socket
from collections.abc import Callable
from operator import itemgetter
from time import monotonic
from typing import Any, Final

from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.server import ServerState

from hl_sessions.server.database.rarely import Rarely
from hl_sessions.server.run.descriptors import limit
from hl_sessions.server.run.patience import Connection

MOST: Final = 4096
"""The greatest number of connections of a process."""

FEWEST: Final = 16
"""The least number of connections of a process, which is enough for a rarely used port."""

_OTHER_DESCRIPTORS: Final = 64
"""Descriptors for the rest of the process: the database, the log, files of the page."""

_GRACE: Final = 0.5
"""Seconds after its start and each answer in which no connection is ended: a request may be on its way."""

_SHARE: Final = 8
"""The part of the connections, as a divisor, that is ended at once: finding a single one would cost as much.
"""

_PAUSE: Final = 0.05
"""Seconds from choosing connections to ending them."""

_TICK: Final = 1.0
"""Seconds between two searches for connections that take too long."""

_logger = logging.getLogger(__name__)


class Connections:
    """All connections of an HTTP server.

    Args:
        state: The state that the server shares with its connections.
        make: Makes a connection for an accepted socket.
        most: The greatest number of connections.
    """

    def __init__(self, state: ServerState, make: Callable[[], asyncio.Protocol], most: int) -> None:
        self._state = state
        self._make = make
        self._most = most
        self._opening: set[asyncio.Task[None]] = set()
        self._full = Rarely()

    @property
    def room(self) -> int:
        """How many more connections there is room for."""
        return self._most - len(self._state.connections) - len(self._opening)

    def open(self, accepted: socket.socket) -> None:
        """Begin to serve an accepted connection."""
        opening = asyncio.get_running_loop().create_task(self._open(accepted))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def opened(self) -> None:
        """Wait until all accepted sockets count as connections of the server."""
        if self._opening:
            await asyncio.wait(self._opening)

    async def make_room(self) -> None:
        """Log a warning that there is no room, and end the connections whose requests are due the soonest."""
        if self._full.is_time():
            _logger.warning(
                "no more than %s connections are served at once: those that send nothing, or take long, are "
                "closed, and others wait; the limit on open files is %s",
                self._most,
                limit(),
            )
        # Answers end their connections, too, until uvicorn makes these headers anew within a second.
        if CLOSE_HEADER not in self._state.default_headers:
            self._state.default_headers.append(CLOSE_HEADER)
        recently = monotonic() - _GRACE
        waiting = [
            (connection.due, connection)
            for connection in self._all()
            if connection.waits_since < recently and connection.waits()
        ]
        waiting.sort(key=itemgetter(0))
        await _end([connection for _due, connection in waiting[: self._most // _SHARE]])

    async def end_late_ones(self) -> None:
        """End connections whose clients take too long, until cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            now = monotonic()
            await _end([connection for connection in self._all() if connection.is_late(now)])

    def end_waiting_ones(self) -> None:
        """End all connections on which no whole request has arrived."""
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
            # The client has gone already.
            accepted.close()


async def _end(connections: list[Connection]) -> None:
    """End connections, except those that make progress in the meantime."""
    before = [(connection, connection.progress) for connection in connections]
    # Perhaps only the server is late: the pause lets it read what has arrived by now.
    await asyncio.sleep(_PAUSE)
    for connection, progress in before:
        if connection.progress == progress:
            connection.end()
    # They are gone in the next turn of the loop.
    await asyncio.sleep(0)


def most_connections() -> int:
    """Return how many connections this process can have, by its limit on open files."""
    return max(FEWEST, min(MOST, limit() - _OTHER_DESCRIPTORS))
