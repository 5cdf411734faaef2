"""Answers that are read from the database while they are sent."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection
from starlette.requests import ClientDisconnect

from hl_sessions.server.http.reading import read_for
from hl_sessions.server.records.parts import Part, read_on

_JSON: Final = "application/json"


def parts_response(request: Request, parts: Sequence[Part]) -> Response:
    """Make the JSON answer that consists of these parts.

    What is not read yet is read when what is before it was sent, by a short transaction each time, so that no
    client makes the database keep its old state for long. Where that goes wrong the connection is closed
    before the end of the answer: it is never taken for whole.
    """
    ready = _beginning(parts)
    if len(ready) == len(parts):
        return Response(b"".join(ready), media_type=_JSON)
    return StreamingResponse(_read_along(request, parts), media_type=_JSON)


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
