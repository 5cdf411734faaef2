"""Observes each request from the outside: what was asked, and how it was answered."""

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
    """Counts requests, logs them, and gives each an ID and an answer, even if it ends in an unexpected error.

    Args:
        app: The ASGI application.
        templates: The route that each endpoint serves.
        metrics: Where requests are counted.
        access_log: Where they are logged, if at all.
    """

    def __init__(
        self, app: ASGIApp, templates: Mapping[object, str], metrics: Metrics, access_log: AccessLog | None
    ) -> None:
        self._app = app
        self._templates = templates
        self._metrics = metrics
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note how it was answered."""
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
    """Return the template, such as ``/sessions/{session_id}``, of each endpoint that a request can have.

    Unlike paths, there are only as many of them as there are routes.

    Args:
        routes: The routes, with what is mounted on them.
        prefix: What stands before their paths.
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
