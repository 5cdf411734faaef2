"""Assembles the application: the routes, the access checks, and the database behind them."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from hl_sessions.server.api.direct import DirectCalls
from hl_sessions.server.api.openapi import add_openapi
from hl_sessions.server.api.routes import add_calls
from hl_sessions.server.api.unserved import add_unserved_calls
from hl_sessions.server.database.database import Database
from hl_sessions.server.database.search_indexing import SearchIndexing
from hl_sessions.server.http.access import BASE_PATH, AccessMiddleware, LoopbackOnlyMiddleware
from hl_sessions.server.http.access_log import AccessLog
from hl_sessions.server.http.body_limit import BodyLimitMiddleware, BodyMemory
from hl_sessions.server.http.head import HeadMiddleware
from hl_sessions.server.http.health import health_routes, metrics_route
from hl_sessions.server.http.idempotency import RequestsUnderWay
from hl_sessions.server.http.key_ring import KeyRing
from hl_sessions.server.http.metrics import Metrics
from hl_sessions.server.http.observation import ObservationMiddleware, route_templates
from hl_sessions.server.http.origins import is_loopback
from hl_sessions.server.http.placement import PlacementMiddleware, parse_prefix
from hl_sessions.server.http.rejections import add_rejections
from hl_sessions.server.page.application import create_page
from hl_sessions.server.records.arrivals import Arrivals
from hl_sessions.server.records.upkeep import Upkeep
from hl_sessions.server.settings import ServerSettings

_BODIES_AT_ONCE: Final = 8
"""How many bodies of the maximum length may be held at the same time, or the same number of bytes in shorter
ones.
"""


class OpenServerError(Exception):
    """A server without any key would be open to other machines, directly or through a proxy."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"without an API key {problem}: "
            "give a key with --api-key, or make some with: hl-sessions keys create"
        )


def require_out_of_reach(settings: ServerSettings) -> None:
    """Refuse the settings of a server without any key if other machines could call it.

    Raises:
        OpenServerError: When they could.
    """
    if not is_loopback(settings.host):
        raise OpenServerError(f"the server listens on loopback only, not on {settings.host!r}")
    if parse_prefix(settings.root_path):
        # Not every proxy adds a header that gives it away.
        raise OpenServerError("nothing is served to a proxy, so there can be no root path")


def create_application(settings: ServerSettings) -> FastAPI:
    """Open the database and make the ASGI application on it; the application closes the database (lifespan).

    Args:
        settings: The database, the API key, the host, and the rest. ``run.serving`` does the listening.

    Raises:
        OpenServerError: When other machines could call, and no key keeps them out.
        sqlalchemy.exc.DBAPIError: When the database cannot be opened.
    """
    metrics = Metrics()
    database = Database.open(settings.database_url, metrics)
    try:
        keys = _open_keys(database, settings)
    except BaseException:
        database.close()
        raise

    # Python has no standard output if it was closed when the process started.
    is_logged = settings.access_log and sys.stdout is not None
    access_log = AccessLog(sys.stdout.fileno(), metrics) if is_logged else None
    upkeep = Upkeep(database, settings.keep, metrics)

    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        if access_log is not None:
            access_log.start()
        indexing = SearchIndexing(database)
        indexing.start()
        upkeep.start()
        yield
        database.begin_to_close()
        upkeep.close()
        indexing.close()
        database.close()
        if access_log is not None:
            access_log.close()

    memory = BodyMemory(_BODIES_AT_ONCE * settings.max_body)

    def add_layers(application: FastAPI, framework: ASGIApp) -> ASGIApp:
        layer: ASGIApp = DirectCalls(framework, application)
        # No body is read before its caller is let in. The page has a limit of its own, and the remaining
        # routes read no bodies.
        layer = BodyLimitMiddleware(layer, settings.max_body, memory, below=BASE_PATH)
        layer = AccessMiddleware(layer, keys)
        layer = HeadMiddleware(layer)
        layer = ObservationMiddleware(layer, route_templates(application.routes), metrics, access_log)
        return PlacementMiddleware(layer, parse_prefix(settings.root_path), application.routes)

    # FastAPI's own documentation pages load their scripts from the internet.
    application = _LayeredApplication(
        add_layers,
        title="hl-sessions",
        version=version("hl-sessions"),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    application.state.database = database
    application.state.keys = keys
    application.state.metrics = metrics
    application.state.max_body = settings.max_body
    application.state.under_way = RequestsUnderWay()
    application.state.arrivals = Arrivals()
    page = create_page(database, keys, memory, settings.prices)
    _add_routes(application, database, page, metrics if settings.metrics_port is None else None)
    add_rejections(application)
    return application


def create_metrics_application(application: FastAPI) -> ASGIApp:
    """Make an application that serves only the metrics of another one, for a separate port.

    Args:
        application: An application made by ``create_application``. Only its metrics are used, so it may be
            closed.
    """
    metrics_only = Starlette(routes=[metrics_route(application.state.metrics)])
    keys: KeyRing = application.state.keys
    return LoopbackOnlyMiddleware(metrics_only) if keys.is_open() else metrics_only


class _LayeredApplication(FastAPI):
    """Puts layers around the framework, which most calls bypass."""

    def __init__(self, add_layers: Callable[[FastAPI, ASGIApp], ASGIApp], **options: Any) -> None:
        super().__init__(**options)
        self._add_layers = add_layers

    def build_middleware_stack(self) -> ASGIApp:
        return self._add_layers(self, super().build_middleware_stack())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # FastAPI's own method inspects each request for telemetry.
        await Starlette.__call__(self, scope, receive, send)


def _add_routes(application: FastAPI, database: Database, page: ASGIApp, metrics: Metrics | None) -> None:
    add_calls(application, BASE_PATH)
    add_openapi(application, BASE_PATH)
    # Unknown calls of the API are answered here, so that they never reach the page.
    add_unserved_calls(application, BASE_PATH)
    application.router.routes.extend(health_routes(database))
    if metrics is not None:
        application.router.routes.append(metrics_route(metrics))
    application.mount("/", page)


def _open_keys(database: Database, settings: ServerSettings) -> KeyRing:
    keys = KeyRing(database, settings.api_key)
    if keys.is_open():
        require_out_of_reach(settings)
    return keys
