"""A session for each request of a Starlette or FastAPI application.

.. code-block:: python

    app = Starlette(routes=routes, middleware=[Middleware(HLSessionMiddleware)])

    app = FastAPI()
    app.add_middleware(HLSessionMiddleware)
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from hl_sessions.context import current_session, enter_session, leave_session
from hl_sessions.integrations import asgi
from hl_sessions.session import Session  # noqa: TC001 - FastAPI evaluates annotations

try:
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware.errors import ServerErrorMiddleware
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.starlette needs Starlette: pip install 'hl-sessions[starlette]'"
    ) from error

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from hl_sessions.manager import SessionManager

__all__ = ["HLSessionMiddleware", "get_session"]

_SESSION = "hl_sessions.session"


async def get_session() -> Session:
    """Give the session of the request: a dependency for FastAPI.

    .. code-block:: python

        @app.post("/chat")
        async def chat(session: Annotated[Session, Depends(get_session)]) -> Answer: ...

    Raises:
        RuntimeError: the request has none, as the application lacks the middleware.
    """
    session = current_session()
    if session is None:
        raise RuntimeError(
            "no session: add hl_sessions.integrations.starlette.HLSessionMiddleware to the app"
        )
    return session


class HLSessionMiddleware(asgi.HLSessionMiddleware):
    """The ASGI middleware, for ``Middleware(...)`` and ``add_middleware(...)``.

    Starlette answers an unhandled error outside of all such middleware. That answer, too, is made in the
    scope of the session, and carries the ``response_header``.

    Args:
        app: the ASGI application.
        manager: opens the sessions; ``None``: the one of :func:`hl_sessions.configure`.
        response_header: the name of a header that tells the client the session ID, if there is one when
            the response starts or the WebSocket is accepted; ``None``: no header.

    Raises:
        ConfigurationError: ``manager`` is not a manager, or ``response_header`` not a header name.
    """

    def __init__(
        self,
        app: asgi.ASGIApplication,
        manager: SessionManager | None = None,
        *,
        response_header: str | None = None,
    ) -> None:
        async def noting_app(scope: asgi.ASGIScope, receive: asgi.Receive, send: asgi.Send) -> None:
            scope[_SESSION] = current_session()
            await app(scope, receive, send)

        super().__init__(noting_app, manager, response_header=response_header)

    async def __call__(self, scope: asgi.ASGIScope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Run the application in the scope of a session."""
        errors = getattr(scope.get("app"), "middleware_stack", None)
        if isinstance(errors, ServerErrorMiddleware) and not isinstance(errors.handler, _ErrorHandler):
            errors.handler = _ErrorHandler(errors, self)
        await super().__call__(scope, receive, send)


class _ErrorHandler:
    """Answers as Starlette would have answered, in the scope of the session."""

    def __init__(self, errors: ServerErrorMiddleware, middleware: HLSessionMiddleware) -> None:
        self._answer: Any = errors.handler or errors.error_response
        if errors.debug:
            self._answer, errors.debug = errors.debug_response, False
        self._middleware = middleware

    async def __call__(self, request: Request, error: Exception) -> Response:
        session = request.scope.get(_SESSION)
        token = enter_session(session)
        try:
            if inspect.iscoroutinefunction(self._answer):
                response: Response = await self._answer(request, error)
            else:
                response = await run_in_threadpool(self._answer, request, error)
        finally:
            leave_session(token)
        if session is not None:
            response.raw_headers = self._middleware.with_header(response.raw_headers, session)
        return response
