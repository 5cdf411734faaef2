"""A session for each request of a Starlette or FastAPI application.

.. code-block:: python

    app = Starlette(routes=routes, middleware=[Middleware(HLSessionMiddleware)])

    app = FastAPI()
    app.add_middleware(HLSessionMiddleware)

The argument of functions for ``key`` and ``trust`` is a ``starlette.requests.Request``, for a WebSocket an
``HTTPConnection``.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from hl_sessions.integrations import asgi
from hl_sessions.integrations.asgi import (
    SignedCookie,
    baggage,
    first,
    header,
    json_field,
    path_param,
    query,
    session_of,
)
from hl_sessions.sessions.current import current_session, enter_session, leave_session
from hl_sessions.sessions.session import Session  # noqa: TC001 - FastAPI evaluates annotations

try:
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware.errors import ServerErrorMiddleware
    from starlette.requests import HTTPConnection, Request
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.starlette needs Starlette: pip install 'hl-sessions[starlette]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = [
    "HLSessionMiddleware",
    "SignedCookie",
    "baggage",
    "first",
    "get_session",
    "header",
    "json_field",
    "path_param",
    "query",
    "session_of",
]


async def get_session() -> Session:
    """Return the session of the request: a dependency for FastAPI.

    .. code-block:: python

        @app.post("/chat")
        async def chat(session: Annotated[Session, Depends(get_session)]) -> Answer: ...

    Raises:
        RuntimeError: the request has no session, as the application lacks the middleware.
    """
    session = current_session()
    if session is None:
        raise RuntimeError(
            "no session: add hl_sessions.integrations.starlette.HLSessionMiddleware to the app"
        )
    return session


class HLSessionMiddleware(asgi.HLSessionMiddleware):
    """The ASGI middleware, for ``Middleware(...)`` and ``add_middleware(...)``.

    Starlette answers an unhandled error outside of all such middleware. This middleware puts that answer in
    the scope of the session, too, and adds the ``response_header``.

    The arguments are those of :class:`hl_sessions.integrations.asgi.HLSessionMiddleware`. The argument of
    functions for ``key`` and ``trust`` is the request of Starlette.
    """

    async def __call__(self, scope: asgi.ASGIScope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Run the application in the scope of a session."""
        errors = getattr(scope.get("app"), "middleware_stack", None)
        while errors is not None and not isinstance(errors, ServerErrorMiddleware):
            errors = getattr(errors, "app", None)  # instrumentations wrap the stack once more
        if errors is not None and not isinstance(errors.handler, _ErrorHandler):
            errors.handler = _ErrorHandler(errors)
        await super().__call__(scope, receive, send)

    def _native_request(self, scope: asgi.ASGIScope) -> HTTPConnection:
        return Request(scope) if scope["type"] == "http" else HTTPConnection(scope)


class _ErrorHandler:
    """Answers an error like Starlette, in the scope of the session."""

    def __init__(self, errors: ServerErrorMiddleware) -> None:
        handler: Any = errors.handler or errors.error_response
        if errors.debug:
            handler, errors.debug = errors.debug_response, False
        self._handle: Callable[..., Awaitable[Any]]
        if _is_async(handler):
            self._handle = handler
        elif getattr(handler, "__self__", None) is errors:
            self._handle = functools.partial(_run_at_once, handler)  # like Starlette
        else:
            self._handle = functools.partial(run_in_threadpool, handler)

    async def __call__(self, request: Request, error: Exception) -> Any:
        session = request.scope.get(asgi.SESSION) or current_session()
        response = await _run_in(session, self._handle, request, error)

        async def answer(scope: asgi.ASGIScope, receive: asgi.Receive, send: asgi.Send) -> None:
            async def send_with_headers(message: asgi.Message) -> None:
                if message["type"] == "http.response.start":
                    headers = message.get("headers", ())
                    for with_header in scope.get(asgi.UNANSWERED, ()):
                        headers = with_header(headers)
                    message = {**message, "headers": headers}
                await send(message)

            await _run_in(session, response, scope, receive, send_with_headers)

        return answer


async def _run_at_once(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _is_async(function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    call = getattr(function, "__call__", None)  # noqa: B004 - not a test of whether it is callable
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


async def _run_in(session: Session | None, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    token = enter_session(session)
    try:
        return await function(*args)
    finally:
        try:
            leave_session(token)
        except ValueError:
            pass  # an unfinished request may be closed in another context
