"""A session for each request of a FastAPI application, or only for requests of some routes.

.. code-block:: python

    app.add_middleware(HLSessionMiddleware)  # all requests

    @app.post("/chats/{chat}", dependencies=[Depends(session_scope(key=path_param("chat")))])  # one route

The argument of functions for ``key`` and ``trust`` is the ``Request``, for a WebSocket an ``HTTPConnection``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from hl_sessions.defaults import manager_of_calls
from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations.gateway import SESSION
from hl_sessions.manager import SessionManager  # noqa: TC001 - FastAPI evaluates annotations
from hl_sessions.scopes.scope import open_session
from hl_sessions.sessions.current import enter_session, leave_session
from hl_sessions.sessions.opened import note_scope, scope_observers
from hl_sessions.sessions.session import Session  # noqa: TC001 - FastAPI evaluates annotations

try:
    import fastapi  # noqa: F401 - so that its absence gets a clear message
    from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI evaluates annotations
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.fastapi needs FastAPI: pip install 'hl-sessions[fastapi]'"
    ) from error

from hl_sessions.integrations.starlette import (
    HLSessionMiddleware,
    SignedCookie,
    baggage,
    first,
    get_session,
    header,
    json_field,
    path_param,
    query,
    session_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from hl_sessions.integrations.asgi import ASGIScope, Message, Receive, Send
    from hl_sessions.integrations.incoming import Key, Trust

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
    "session_scope",
]


class _NoParameter:
    """Marks a parameter of ``session_scope``, which FastAPI reads only if the parentheses are forgotten."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> NoReturn:
        raise ConfigurationError("Depends takes session_scope(), not session_scope itself")


def session_scope(
    manager: Annotated[SessionManager | None, _NoParameter] = None,
    *,
    key: Key | None = None,
    trust: Trust | None = None,
    via_proxies: Sequence[str] | None = None,
) -> Callable[[HTTPConnection], AsyncIterator[Session]]:
    """Return a dependency that makes a request the scope of a session, and yields the session.

    .. code-block:: python

        @app.post("/chat")
        async def chat(session: Annotated[Session, Depends(session_scope())]) -> Answer: ...

    The scope lasts as long as FastAPI keeps the dependency. By FastAPI's default, ``scope="request"``, that
    is until the response is sent and background tasks have run; before FastAPI 0.118, until the end of the
    endpoint. Earlier dependencies, and middlewares, run outside the scope. The session of a middleware of
    ours around the application is joined.

    Args:
        manager: for ``manager``, ``key``, ``trust`` and ``via_proxies`` see
            :class:`~hl_sessions.integrations.middleware.MiddlewareBase`. ``cookie`` and ``response_header``
            need the middleware, as the response may start before the dependency ends.

    Raises:
        ConfigurationError: an option is wrong.
    """
    # This middleware, without an application, checks the options and opens the sessions.
    middleware = HLSessionMiddleware(_nothing, manager, key=key, trust=trust, via_proxies=via_proxies)

    async def scope(connection: HTTPConnection) -> AsyncIterator[Session]:
        session, is_joined = await _open(middleware, connection)
        connection.scope[SESSION] = session
        if scope_observers and not is_joined:
            note_scope(session)
        token = enter_session(session)
        try:
            yield session
        finally:
            try:
                leave_session(token)
            except ValueError:
                pass  # an unfinished request may be closed in another context
            if not is_joined:
                session._leave()

    return scope


async def _nothing(scope: ASGIScope, receive: Receive, send: Send) -> None:
    pass


async def _open(middleware: HLSessionMiddleware, connection: Any) -> tuple[Session, bool]:
    """Return the session of a request, and whether it is that of an outer scope."""
    manager = middleware._manager or manager_of_calls()
    incoming = middleware._incoming
    if incoming is None:
        return open_session(manager) if SESSION in connection.scope else (manager.new_session(), False)

    async def receive() -> Message:
        return {"type": "http.request", "body": await connection.body()}  # FastAPI may have read it

    session, is_joined, _ = await middleware._open(manager, incoming, connection.scope, receive)
    return session, is_joined
