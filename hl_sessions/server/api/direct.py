"""Calls that are made without the framework: they need nothing of it, and it takes longer than they do."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

_Call: TypeAlias = Callable[[Request], Awaitable[Response]]


class DirectCallsMiddleware:
    """Makes those calls of an application that take nothing but the request; the framework makes the others.

    They are routes of the application nevertheless, for its OpenAPI document.

    Args:
        app: The ASGI application, which makes the others.
        application: What has the calls, and the answers to exceptions.
    """

    def __init__(self, app: ASGIApp, application: FastAPI) -> None:
        self._app = app
        self._calls = _calls_of_requests(application.routes)
        # What is unexpected is for a layer further out.
        expected = {
            kind: answer for kind, answer in application.exception_handlers.items() if kind is not Exception
        }
        self._making = ExceptionMiddleware(self._make, expected)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make the call, or pass it on."""
        is_direct = scope["type"] == "http" and (scope["method"], scope["path"]) in self._calls
        await (self._making if is_direct else self._app)(scope, receive, send)

    async def _make(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = self._calls[scope["method"], scope["path"]]
        scope["endpoint"] = call
        response = await call(Request(scope, receive))
        await response(scope, receive, send)


def _calls_of_requests(routes: Iterable[BaseRoute]) -> dict[tuple[str, str], _Call]:
    return {
        (method, route.path): route.endpoint
        for route in routes
        if isinstance(route, APIRoute) and not route.param_convertors and not route.dependant.query_params
        for method in route.methods or ()
    }
