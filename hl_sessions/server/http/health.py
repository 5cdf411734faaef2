"""The routes for operators: liveness, readiness and metrics. They need no key."""

import asyncio
from collections.abc import Sequence
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.errors import DatabaseError
from hl_sessions.server.database.tables import organisations
from hl_sessions.server.http.metrics import Metrics
from hl_sessions.server.http.rejections import rejection

LIVENESS: Final = "/healthz"
READINESS: Final = "/readyz"
METRICS: Final = "/metrics"

PATIENCE: Final = 1.0
"""Seconds within which the database must answer a small query for the server to count as ready."""


class Readiness:
    """Knows whether the database answers.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asking: asyncio.Task[bool] | None = None

    async def is_ready(self) -> bool:
        """Ask the database; simultaneous callers share one query."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        answered, _ = await asyncio.wait([self._asking], timeout=PATIENCE)
        return any(task.result() for task in answered)

    async def _ask(self) -> bool:
        try:
            await self._database.read_promptly(_read_something)
        except DatabaseError:
            return False
        return True


def health_routes(database: Database) -> Sequence[Route]:
    """Make the routes that tell whether the process is alive, and whether the server is ready.

    Args:
        database: The database that must answer for the server to be ready.
    """
    readiness = Readiness(database)

    async def tell_liveness(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def tell_readiness(_request: Request) -> Response:
        if await readiness.is_ready():
            return JSONResponse({"status": "ready"})
        return rejection(503, "The database does not answer")

    return [Route(LIVENESS, tell_liveness), Route(READINESS, tell_readiness)]


def metrics_route(metrics: Metrics) -> Route:
    """Make the route of the metrics."""

    # Not a coroutine function, because it reads files if there are several processes.
    def tell_metrics(_request: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return Route(METRICS, tell_metrics)


def _read_something(connection: Connection) -> None:
    # A table is read, because a connection alone says nothing about the file behind it.
    connection.execute(select(organisations.c.sequence).limit(1))
