"""Sends answers that are read from the database while they are sent."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection
from starlette.requests import ClientDisconnect
from starlette.types import Send

from hl_sessions.server.database.errors import DatabaseError
from hl_sessions.server.http.reading import read_for
from hl_sessions.server.records.parts import ChangedMeanwhileError, Part, read_on

_logger = logging.getLogger(__name__)
_JSON: Final = "application/json"


def parts_response(
    request: Request,
    parts: Sequence[Part],
    media_type: str = _JSON,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make an answer that consists of these parts.

    A part that is still in the database is read after the part before it was sent, in a short transaction of
    its own. So no client makes the database keep its old state for long. After an error the connection is
    closed before the end of the answer, so a client never takes it for complete.

    Args:
        request: The request.
        parts: The parts of the body.
        media_type: The type of the answer.
        headers: Additional headers.
    """
    ready = _beginning(parts)
    if len(ready) == len(parts):
        return Response(b"".join(ready), media_type=media_type, headers=headers)
    return _PartsResponse(_read_along(request, parts), media_type=media_type, headers=headers)


class _PartsResponse(StreamingResponse):
    async def stream_response(self, send: Send) -> None:
        """Send the parts. After an error no end is sent, so the connection is closed."""
        try:
            await super().stream_response(send)
        except (ChangedMeanwhileError, DatabaseError) as error:
            _logger.warning("An answer broke off: %s", error)


async def _read_along(request: Request, parts: Sequence[Part]) -> AsyncIterator[bytes]:
    def query(connection: Connection, _organisation_id: int) -> list[Part]:
        return read_on(connection, parts)

    try:
        while parts:
            ready = _beginning(parts)
            yield b"".join(ready)
            parts = parts[len(ready) :]
            if parts:
                parts = await read_for(request, query)
    except ClientDisconnect:
        return


def _beginning(parts: Sequence[Part]) -> list[bytes]:
    ready: list[bytes] = []
    for part in parts:
        if not isinstance(part, bytes):
            break
        ready.append(part)
    return ready
