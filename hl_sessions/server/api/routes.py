"""Adds the calls of the v4 API. Each one reads the request, asks the database, and answers."""

from fastapi import FastAPI
from fastapi.routing import APIRoute

from hl_sessions.server.api import feedback, logs, projects, sessions
from hl_sessions.server.api.openapi import IDEMPOTENCY_KEY, PROBLEMS, UNDER_WAY
from hl_sessions.server.http.idempotency import METHODS


def add_calls(application: FastAPI, prefix: str) -> None:
    """Have the application serve the calls, each under the prefix and its path.

    Routers are not included, because FastAPI matches a request twice at each level of them.
    """
    # The most frequent calls come first, because routes are tried in this order.
    for kind in (sessions, logs, projects, feedback):
        for route in kind.router.routes:
            if isinstance(route, APIRoute):
                responses = {**PROBLEMS, **route.responses}
                extra = dict(route.openapi_extra or {})
                if METHODS.issuperset(route.methods or ()):
                    responses |= UNDER_WAY
                    extra["parameters"] = [IDEMPOTENCY_KEY]
                application.add_api_route(
                    prefix + route.path,
                    route.endpoint,
                    methods=sorted(route.methods or ()),
                    status_code=route.status_code,
                    tags=route.tags,
                    responses=responses,
                    openapi_extra=extra,
                )
