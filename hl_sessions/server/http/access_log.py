"""The access log: a line of JSON for each request, without anything from its body or query."""

import logging
import os
from datetime import datetime, timezone
from time import time
from typing import Final

from pydantic_core import to_json
from starlette.types import Scope

from hl_sessions.server.database.rarely import Rarely
from hl_sessions.server.http.exchange import Exchange
from hl_sessions.server.http.line_writer import LineWriter
from hl_sessions.server.http.metrics import Metrics

# This limit keeps a line below the 4 KiB that are written as a whole.
_LONGEST_PATH: Final = 1024
_LONGEST_METHOD: Final = 32

_logger = logging.getLogger(__name__)


class AccessLog:
    """Queues lines for a thread that writes them, so that no request waits: see ``LineWriter``.

    Args:
        descriptor: The number of the open file to write to, such as that of the standard output.
        metrics: Counts the lost lines.
    """

    def __init__(self, descriptor: int, metrics: Metrics) -> None:
        self._lines = LineWriter(descriptor, self._lose)
        self._metrics = metrics
        self._warning = Rarely()
        self._clock = _Clock()

    def start(self) -> None:
        """Begin to write."""
        self._lines.start()

    def close(self) -> None:
        """Write the remaining lines, unless nothing reads the file."""
        self._lines.close()

    def write(self, scope: Scope, exchange: Exchange, status: int, seconds: float) -> None:
        """Queue the line of a request.

        Args:
            scope: The request. Its method and path are logged, but not its query, which may hold searched
                texts.
            exchange: The observations of the request.
            status: The status of the answer.
            seconds: The duration of the request.
        """
        line = {
            "time": self._clock.now(),
            "method": scope["method"][:_LONGEST_METHOD],
            # The path is percent-encoded as it was sent, so it has no characters that a terminal would act
            # on.
            "path": scope["raw_path"][:_LONGEST_PATH].decode("ascii", "backslashreplace"),
            "status": status,
            "duration": round(seconds, 6),
            "bytes": exchange.sent,
            "request_id": exchange.request_id,
        }
        if exchange.session_id is not None:
            line["session_id"] = exchange.session_id
        if exchange.key is not None:
            line["key_id"] = exchange.key.key_id
        if exchange.deleted is not None:
            line["deleted_sessions"] = exchange.deleted.sessions
            line["deleted_datapoints"] = exchange.deleted.datapoints
            # Deletions are final, so their log lines must make sense without the database.
            if exchange.key is not None and exchange.key.name is not None:
                line["key_name"] = exchange.key.name
        line["process"] = os.getpid()
        self._lines.write(to_json(line) + b"\n")

    def _lose(self, lines: int) -> None:
        self._metrics.access_log_lost(lines)
        if self._warning.is_time():
            _logger.warning(
                "lines of the access log are lost: nothing reads the standard output, or its disk is full"
            )


class _Clock:
    """Returns the time in UTC with milliseconds. Its text up to the seconds is made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        now = time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{int(1000 * (now - second)):03}+00:00"
