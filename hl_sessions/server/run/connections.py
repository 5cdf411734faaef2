"""Ends connections on which nothing is answered: those that take long, and the oldest when there are many."""

import asyncio
import errno
import logging
from collections.abc import Collection
from time import monotonic
from typing import Any, Final

from hl_sessions.server.http.rarely import Rarely
from hl_sessions.server.run.descriptors import limit

TIME_TO_SEND: Final = 60.0
"""Seconds from the begin of a connection, or the end of an answer, in which a request has to have arrived."""

MOST: Final = 4096
"""How many connections there are before those go on which nothing is answered."""

_OTHER_DESCRIPTORS: Final = 64
"""What else a process has open: the database, the log, files of the page."""

_FEWEST: Final = 16

_OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})

_logger = logging.getLogger(__name__)


class Connections:
    """Watches the connections of an HTTP server of uvicorn; ``tidy`` has to be called every second.

    Args:
        connections: All that are open: uvicorn's protocols, as they come and go.
    """

    def __init__(self, connections: Collection[Any]) -> None:
        self._connections = connections
        self._most = max(_FEWEST, min(MOST, limit() - _OTHER_DESCRIPTORS))
        # Which request each one had last, and since when it has sent no whole one after it.
        self._sending: dict[Any, tuple[Any, float]] = {}
        self._full = Rarely()

    @property
    def most(self) -> int:
        """How many there are, idle ones included, before those go on which nothing is answered."""
        return self._most

    async def tidy(self) -> None:
        """End what is late, and make room."""
        self._note_who_is_sending()
        now = monotonic()
        for connection, (_request, since) in self._sending.items():
            if now - since > TIME_TO_SEND:
                connection.transport.abort()
        excess = len(self._connections) - self._most
        if excess > 0:
            self._say_that_it_is_full()
            by_age = sorted(self._sending, key=lambda connection: self._sending[connection][1])
            for connection in by_age[:excess]:
                _end(connection)

    def handle_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take the place of the loop's own handler, which writes a traceback for each failed ``accept``."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _OUT_OF_DESCRIPTORS:
            # The loop tries again in a second; by then ``tidy`` has made room.
            self._say_that_it_is_full()
        else:
            loop.default_exception_handler(context)

    def _note_who_is_sending(self) -> None:
        now = monotonic()
        before, self._sending = self._sending, {}
        for connection in self._connections:
            request = connection.cycle
            if request is not None and not request.response_complete and not request.more_body:
                continue  # it is being answered
            last, since = before.get(connection, (request, now))
            # A first request counts from the begin of its connection, a later body from the end of its head.
            self._sending[connection] = request, since if last in {None, request} else now

    def _say_that_it_is_full(self) -> None:
        if self._full.is_time():
            _logger.warning(
                "there are more connections than the %s that are served: the oldest ones that send nothing, "
                "or take long, are closed; the limit on open files is %s",
                self._most,
                limit(),
            )


def _end(connection: Any) -> None:
    request = connection.cycle
    is_idle = request is None or request.response_complete
    if is_idle and not connection.transport.is_closing():
        # What was answered is sent to its end.
        connection.transport.close()
    else:
        connection.transport.abort()
