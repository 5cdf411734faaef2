"""Reads the database for requests, and stops a read when its client has gone."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from starlette.requests import ClientDisconnect, Request

from hl_sessions.server.database.database import Database
from hl_sessions.server.http.access import organisation_of

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


async def read_for(
    request: Request,
    query: Callable[Concatenate[Connection, int, Parameters], Result],
    *arguments: Parameters.args,
    **named: Parameters.kwargs,
) -> Result:
    """Return the result of ``query``, which reads single records of the calling organisation.

    See ``Database.read``.

    Args:
        request: The request.
        query: Called with the connection, the ID of the organisation, and the arguments.

    Raises:
        ClientDisconnect: When the client goes before the answer is there.
    """
    return await _while_connected(request, database_of(request).read, query, *arguments, **named)


async def scan_for(
    request: Request,
    query: Callable[Concatenate[Connection, int, Parameters], Result],
    *arguments: Parameters.args,
    **named: Parameters.kwargs,
) -> Result:
    """Like ``read_for``, for searches and lists. Reads of single records do not wait for them."""
    return await _while_connected(request, database_of(request).scan, query, *arguments, **named)


def database_of(request: Request) -> Database:
    """Return the database of the called application."""
    database: Database = request.app.state.database
    return database


async def _while_connected(
    request: Request,
    run: Callable[[Callable[[Connection], Result]], Coroutine[Any, Any, Result]],
    query: Callable[..., Result],
    *arguments: Any,
    **named: Any,
) -> Result:
    organisation_id = organisation_of(request)
    reading = asyncio.ensure_future(
        run(lambda connection: query(connection, organisation_id, *arguments, **named))
    )
    leaving = asyncio.ensure_future(_disconnection(request))
    try:
        await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            raise ClientDisconnect
        return reading.result()
    finally:
        reading.cancel()
        leaving.cancel()


async def _disconnection(request: Request) -> None:
    # The message with the body comes first, even if the body is empty.
    while (await request.receive())["type"] != "http.disconnect":
        pass
