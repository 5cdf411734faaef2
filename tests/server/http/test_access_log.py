"""The access log is of no use to callers, and in nobody's way."""

import os

from starlette.types import Message

from hl_sessions.server.http.access_log import AccessLog
from hl_sessions.server.http.exchange import Exchange


async def send(_message: Message) -> None:
    """Nobody is there."""


def test_a_log_that_nobody_reads_any_more_stops_nothing() -> None:
    """Requests are answered although their lines cannot be written."""
    reader, writer = os.pipe()
    os.close(reader)

    AccessLog(writer).write({"method": "GET", "raw_path": b"/"}, Exchange("id", send), 200, 0.1)

    os.close(writer)
