"""A connection of an HTTP server with time limits for its client."""

import asyncio
import logging
from time import monotonic
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from hl_sessions.server.database.rarely import Rarely
from hl_sessions.server.run.protocol import HTTPProtocol

TIME_TO_SEND: Final = 60.0
"""Seconds from the start of a connection, or the end of an answer, until a whole request must have arrived.
"""

SLOWEST: Final = 4096
"""A request earns one more second for each such number of bytes received."""

TIME_TO_TAKE: Final = 60.0
"""Seconds within which a client must read some part of its answer."""


class _OnceAMinute:
    """Lets each warning through once a minute."""

    def __init__(self) -> None:
        self._warnings: dict[str, Rarely] = {}

    def __call__(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        return self._warnings.setdefault(record.msg, Rarely()).is_time()


# Replaces uvicorn's own logger, because any client can cause any number of its warnings.
_warnings = logging.getLogger("uvicorn.error.hl_sessions")
_warnings.setLevel(logging.WARNING)
_warnings.addFilter(_OnceAMinute())


class Connection(HTTPProtocol):
    """A connection that measures how long its client takes.

    Attributes:
        waits_since: The time, by ``time.monotonic``, at which the connection started or its last answer
            ended.
    """

    def __init__(self, config: uvicorn.Config, state: ServerState, application_state: dict[str, Any]) -> None:
        super().__init__(config, state, application_state)
        self.logger = _warnings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        self._unsent, self._unsent_since = 0, 0.0
        self._begin_to_wait()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Count the bytes that arrive."""
        self._received += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Count the bytes of a new request, whose start httptools reports."""
        self._received = 0
        super().on_message_begin()  # type: ignore[misc]

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._begin_to_wait()
        super().on_response_complete()

    @property
    def progress(self) -> tuple[object, ...]:
        """A value that changes whenever something happens on the connection."""
        return self.waits_since, self._received, self._length_of_unsent(), self.waits()

    @property
    def due(self) -> float:
        """The time, by ``time.monotonic``, by which the request must have arrived; long ones have more."""
        is_arriving = self.cycle is not None and not self.cycle.response_complete
        earned = self._received / SLOWEST if is_arriving else 0.0
        return self.waits_since + TIME_TO_SEND + earned

    def waits(self) -> bool:
        """Tell whether it is the client's turn to send something."""
        if self.transport.is_closing() or self._length_of_unsent():
            return False
        if self.flow.read_paused or getattr(self, "pipeline", None):
            # More requests have arrived than the server has read.
            return False
        request = self.cycle
        if request is None or request.response_complete:
            return True
        return request.more_body and not request.response_started

    def is_late(self, now: float) -> bool:
        """Tell whether the client has taken too long to send a request, or to read its answer.

        Args:
            now: The time, by ``time.monotonic``. At most the two limits may pass between two calls.
        """
        unsent = self._length_of_unsent()
        if unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        if unsent:
            return now - self._unsent_since > TIME_TO_TAKE
        return self.waits() and now > self.due

    def end(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def _begin_to_wait(self) -> None:
        self.waits_since = monotonic()
        self._received = 0

    def _length_of_unsent(self) -> int:
        return self.transport.get_write_buffer_size()
