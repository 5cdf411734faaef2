"""The calls of the v4 API. Each one reads the request, asks the database, and answers."""

from fastapi import FastAPI
from fastapi.routing import APIRoute

from hl_sessions.server.api import feedback, logs, projects, sessions
from hl_sessions.server.api.openapi import PROBLEMS


def add_calls(application: FastAPI, prefix: str) -> None:
    """Have the application serve the calls, each under the prefix and its path.

    Not by including routers: at each level of them FastAPI looks twice for the route of a request.
    """
    # Those that are called most come first: they are looked for in this order.
    for kind in (sessions, logs, projects, feedback):
        for route in kind.router.routes:
            if isinstance(route, APIRoute):
                application.add_api_route(
                    prefix + route.path,
                    route.endpoint,
                    methods=sorted(route.methods or ()),
                    status_code=route.status_code,
                    tags=route.tags,
                    responses={**PROBLEMS, **route.responses},
                    openapi_extra=route.openapi_extra,
                )
