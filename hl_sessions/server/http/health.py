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
from hl_sessions.server.database.engines import is_file_replaced
from hl_sessions.server.database.errors import DatabaseError, ReplacedFileError
from hl_sessions.server.database.tables import organisations
from hl_sessions.server.http.metrics import Metrics
from hl_sessions.server.http.rejections import FILE_REPLACED, rejection

LIVENESS: Final = "/healthz"
READINESS: Final = "/readyz"
METRICS: Final = "/metrics"

PATIENCE: Final = 1.0
"""Seconds within which the database must answer a small query for the server to count as ready."""


_SILENT: Final = "The database does not answer"


class Readiness:
    """Knows whether the database answers, and is still the one at its path.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asking: asyncio.Task[str | None] | None = None

    async def problem(self) -> str | None:
        """Ask the database, and return why it is not ready, if so; simultaneous callers share one query."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        answered, _ = await asyncio.wait([self._asking], timeout=PATIENCE)
        for task in answered:
            return task.result()
        return _SILENT

    async def _ask(self) -> str | None:
        try:
            is_replaced = await self._database.read_promptly(_is_replaced)
        except ReplacedFileError:
            return FILE_REPLACED
        except DatabaseError:
            return _SILENT
        return FILE_REPLACED if is_replaced else None


def health_routes(database: Database) -> Sequence[Route]:
    """Make the routes that tell whether the process is alive, and whether the server is ready.

    Args:
        database: The database that must answer for the server to be ready.
    """
    readiness = Readiness(database)

    async def tell_liveness(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def tell_readiness(_request: Request) -> Response:
        problem = await readiness.problem()
        return JSONResponse({"status": "ready"}) if problem is None else rejection(503, problem)

    return [Route(LIVENESS, tell_liveness), Route(READINESS, tell_readiness)]


def metrics_route(metrics: Metrics) -> Route:
    """Make the route of the metrics."""

    # Not a coroutine function, because it reads files if there are several processes.
    def tell_metrics(_request: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return Route(METRICS, tell_metrics)


def _is_replaced(connection: Connection) -> bool:
    # A table is read, because a connection alone says nothing about the file behind it.
    connection.execute(select(organisations.c.sequence).limit(1))
    return is_file_replaced(connection)
