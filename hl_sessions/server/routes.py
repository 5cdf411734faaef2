"""The calls of the v4 API. Each one reads the request, asks the database, and answers."""

from fastapi import FastAPI
from fastapi.routing import APIRoute

from hl_sessions.server import feedback_routes, log_routes, project_routes, session_routes
from hl_sessions.server.openapi import PROBLEMS


def add_calls(application: FastAPI, prefix: str) -> None:
    """Have the application serve the calls, each under the prefix and its path.

    Not by including routers: at each level of them FastAPI looks twice for the route of a request.
    """
    # Those that are called most come first: they are looked for in this order.
    for routes in (session_routes, log_routes, project_routes, feedback_routes):
        for route in routes.router.routes:
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
