"""Observes each request from the outside: its ID, its answer, and its duration."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hl_sessions.server.http.access_log import AccessLog
from hl_sessions.server.http.exchange import Exchange, begin_exchange, request_id_of
from hl_sessions.server.http.metrics import Metrics
from hl_sessions.server.http.rejections import CLIENT_HAS_GONE, internal_error
from hl_sessions.server.protocol.identifiers import SESSION, identifier_pattern

_SESSION_ID: Final = re.compile(identifier_pattern(SESSION))


class ObservationMiddleware:
    """Counts and logs requests, gives each an ID, and answers even after an unexpected error.

    Args:
        app: The ASGI application.
        templates: The template of the route of each endpoint.
        metrics: Counts the requests.
        access_log: Logs the requests, if given.
    """

    def __init__(
        self, app: ASGIApp, templates: Mapping[object, str], metrics: Metrics, access_log: AccessLog | None
    ) -> None:
        self._app = app
        self._templates = templates
        self._metrics = metrics
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(request_id_of(scope), send)
        begin_exchange(scope, exchange)
        self._metrics.request_begins()
        try:
            await self._app(scope, receive, exchange.send)
        except Exception:
            if exchange.status is None:
                await internal_error()(scope, receive, exchange.send)
            raise
        finally:
            self._end(scope, exchange)

    def _end(self, scope: Scope, exchange: Exchange) -> None:
        status = exchange.status or CLIENT_HAS_GONE
        seconds = exchange.seconds
        route = self._templates.get(scope.get("endpoint"))
        self._metrics.request_ends(scope["method"], route, status, seconds)
        if self._access_log is not None:
            if exchange.session_id is None:
                exchange.session_id = _session_in_path(scope)
            self._access_log.write(scope, exchange, status, seconds)


def route_templates(routes: Iterable[BaseRoute], prefix: str = "") -> Mapping[object, str]:
    """Return the template, such as ``/sessions/{session_id}``, of each endpoint.

    The number of templates is bounded, unlike that of paths.

    Args:
        routes: The routes, with those of mounted applications.
        prefix: The path before theirs.
    """
    templates: dict[object, str] = {}
    for route in routes:
        if isinstance(route, Route):
            templates[route.endpoint] = prefix + route.path
        elif isinstance(route, Mount):
            if route.routes:
                templates.update(route_templates(route.routes, prefix + route.path))
            else:
                templates[route.app] = f"{prefix}{route.path}/{{path}}"
    return templates


def _session_in_path(scope: Scope) -> str | None:
    session_id: str | None = scope.get("path_params", {}).get("session_id")
    return session_id if session_id is not None and _SESSION_ID.fullmatch(session_id) else None
