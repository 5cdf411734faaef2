"""Calls that bypass the framework: they need nothing of it, and it takes longer than they do."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

_Call: TypeAlias = Callable[[Request], Awaitable[Response]]


class DirectCalls:
    """An ASGI application with the calls of another one that take nothing but the request.

    They are routes of the framework, too, for its OpenAPI document.

    Args:
        framework: Handles all other calls.
        application: The application with the calls and the exception handlers.
    """

    def __init__(self, framework: ASGIApp, application: FastAPI) -> None:
        self._framework = framework
        self._calls = _direct_calls(application.routes)
        # Unexpected exceptions are handled by an outer layer.
        self._answers: dict[Any, Any] = {
            kind: answer for kind, answer in application.exception_handlers.items() if kind is not Exception
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make the call, or pass it on."""
        call = self._calls.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if call is None:
            await self._framework(scope, receive, send)
            return
        scope["endpoint"] = call
        request = Request(scope, receive)
        try:
            response = await call(request)
        except Exception as error:  # noqa: BLE001 - it is answered, or raised again
            response = await self._answer(request, error)
        await response(scope, receive, send)

    async def _answer(self, request: Request, error: Exception) -> Response:
        for kind in type(error).__mro__:
            if kind in self._answers:
                response: Response = await self._answers[kind](request, error)
                return response
        raise error


def _direct_calls(routes: Iterable[BaseRoute]) -> dict[tuple[str, str], _Call]:
    return {
        (method, route.path): route.endpoint
        for route in routes
        if isinstance(route, APIRoute) and _takes_a_request_only(route)
        for method in route.methods or ()
    }


def _takes_a_request_only(route: APIRoute) -> bool:
    given = route.dependant
    return given.request_param_name is not None and not (given.path_params or given.query_params)
