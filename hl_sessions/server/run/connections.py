"""All connections of an HTTP server: who goes when there are too many of them, or takes too long."""

import asyncio
import logging
import socket
from collections.abc import Callable
from operator import itemgetter
from time import monotonic
from typing import Any, Final

from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.server import ServerState

from hl_sessions.server.http.rarely import Rarely
from hl_sessions.server.run.descriptors import limit
from hl_sessions.server.run.patience import Connection

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
"""Seconds from choosing who goes until they do, and until there is another look for room."""

_TICK: Final = 1.0
"""Seconds from one look at all connections to the next."""

_logger = logging.getLogger(__name__)


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
            (connection.due, connection)
            for connection in self._all()
            if connection.waits_since < recently and connection.waits()
        ]
        waiting.sort(key=itemgetter(0))
        await _end([connection for _due, connection in waiting[: self._most // _SHARE]])

    async def end_late_ones(self) -> None:
        """End, for ever, those whose client takes too long."""
        while True:
            await asyncio.sleep(_TICK)
            now = monotonic()
            await _end([connection for connection in self._all() if connection.is_late(now)])

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


async def _end(connections: list[Connection]) -> None:
    """End those with which nothing happens for another moment."""
    before = [(connection, connection.progress) for connection in connections]
    # In the meantime all is read that has arrived: it may be that only the server is late.
    await asyncio.sleep(_PAUSE)
    for connection, progress in before:
        if connection.progress == progress:
            connection.end()
    # They are gone in the next turn of the loop.
    await asyncio.sleep(0)


def most_connections() -> int:
    """Return how many connections this process can have, by its limit on open files."""
    return max(FEWEST, min(MOST, limit() - _OTHER_DESCRIPTORS))
