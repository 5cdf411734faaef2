"""A session for each HTTP request and each WebSocket connection of an ASGI application.

.. code-block:: python

    app = HLSessionMiddleware(app)
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from hl_sessions.context import enter_session, leave_session
from hl_sessions.errors import HLSessionsError
from hl_sessions.headers import checked_header_name
from hl_sessions.manager import SessionManager, checked_manager, default_manager
from hl_sessions.scope import open_session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from hl_sessions.session import Session

    Message = MutableMapping[str, Any]
    ASGIScope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ASGIApplication = Callable[[ASGIScope, Receive, Send], Awaitable[None]]

__all__ = ["SESSION", "UNANSWERED", "HLSessionMiddleware"]

#: The key of the session in the ASGI scope.
SESSION = "hl_sessions.session"
#: The key of the functions that add their header to the answer to an error; the framework will give it.
UNANSWERED = "hl_sessions.unanswered"

_RESPONSE_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class HLSessionMiddleware:
    """Pure ASGI middleware that makes each ``http`` and ``websocket`` scope the scope of a session.

    It lasts as long as the application runs, streaming and background tasks of the framework included.
    Everything else, such as ``lifespan``, passes through untouched, and so do all messages. Only another
    such middleware around this one is joined, not what the context of the server holds: uvicorn may run a
    request in a copy of the context of the one before it on the same connection.

    Args:
        app: the ASGI application.
        manager: opens the sessions; ``None``: the one of :func:`hl_sessions.configure`.
        response_header: the name of a header that tells the client the session ID, if there is one when
            the response starts or the WebSocket is accepted; ``None``: no header.
        eager: create the session before the application runs, off the event loop, so that a plain
            ``current_session_id()`` in async code never blocks. Then each request makes a session.

    Raises:
        ConfigurationError: ``manager`` is not a manager, or ``response_header`` not a header name.
    """

    def __init__(
        self,
        app: ASGIApplication,
        manager: SessionManager | None = None,
        *,
        response_header: str | None = None,
        eager: bool = False,
    ) -> None:
        self.app = app
        self._manager = checked_manager(manager)
        self._response_header = (
            None
            if response_header is None
            else checked_header_name("response_header", response_header).lower().encode("ascii")
        )
        self._eager = eager
        self._has_options = eager or response_header is not None

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Run the application in the scope of a session."""
        if scope["type"] != "http" and scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        manager = self._manager or default_manager()
        # What follows is on the path of every request: one object, one set and one reset.
        session = scope[SESSION] = open_session(manager)[0] if SESSION in scope else manager.new_session()
        token = enter_session(session)
        try:
            if not self._has_options:
                await self.app(scope, receive, send)
            else:
                await self._run_with_options(scope, receive, send, session)
        finally:
            try:
                leave_session(token)
            except ValueError:
                pass  # a request that nobody finished is closed in whatever context

    async def _run_with_options(
        self, scope: ASGIScope, receive: Receive, send: Send, session: Session
    ) -> None:
        if self._eager:
            with suppress(HLSessionsError):  # the application meets it when it reads
                await session.aid()
        if self._response_header is None:
            await self.app(scope, receive, send)
        else:
            await self._run_with_header(scope, receive, send, session)

    async def _run_with_header(
        self, scope: ASGIScope, receive: Receive, send: Send, session: Session
    ) -> None:
        has_started = False
        # A framework that is around this middleware has set "app", and answers errors itself.
        is_outermost = "app" not in scope

        async def send_with_header(message: Message) -> None:
            nonlocal has_started
            if message["type"] in _RESPONSE_STARTS:
                has_started = True
                message = {**message, "headers": self.with_header(message.get("headers", ()), session)}
            await send(message)

        try:
            await self.app(scope, receive, send_with_header)
        except Exception:
            if scope["type"] == "http" and not has_started:
                if not is_outermost:
                    scope.setdefault(UNANSWERED, []).append(partial(self.with_header, session=session))
                elif session.peek() is not None:
                    # Otherwise the server would answer, without the header.
                    await _send_server_error(send_with_header)
            raise

    def with_header(
        self, headers: Iterable[tuple[bytes, bytes]], session: Session
    ) -> list[tuple[bytes, bytes]]:
        """Give response headers with that of the session ID added, if there is one and it was asked for."""
        headers, session_id = list(headers), session.peek()
        name = self._response_header
        if name is None or session_id is None or any(field.lower() == name for field, _ in headers):
            return headers
        return [*headers, (name, session_id.encode("ascii"))]


async def _send_server_error(send: Send) -> None:
    body = b"Internal Server Error"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
