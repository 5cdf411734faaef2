"""A session for each request of a Sanic application on Sanic's own server.

.. code-block:: python

    app = SessionSanic("shop")  # in place of Sanic("shop")

On an ASGI server, wrap a plain ``Sanic`` with :class:`hl_sessions.integrations.asgi.HLSessionMiddleware`.
"""

from __future__ import annotations

import sys
from copy import copy
from typing import TYPE_CHECKING, Any

from hl_sessions.client.client import DEFAULT_TIMEOUT
from hl_sessions.datapoints.sender import aflush_all
from hl_sessions.integrations.cookies import SignedCookie
from hl_sessions.integrations.gateway import SESSION, FrameworkRequest
from hl_sessions.integrations.keys import baggage, first, header, json_field, path_param, query
from hl_sessions.integrations.middleware import MiddlewareBase, missing_headers
from hl_sessions.scopes.scope import open_session
from hl_sessions.sessions.current import enter_session, leave_session
from hl_sessions.sessions.late_reads import note_end
from hl_sessions.sessions.opened import note_request, request_observers

try:
    import sanic
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.sanic needs Sanic: pip install 'hl-sessions[sanic]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from hl_sessions.integrations.incoming import Key, Trust
    from hl_sessions.manager import SessionManager
    from hl_sessions.sessions.session import Session

__all__ = [
    "SessionSanic",
    "SignedCookie",
    "baggage",
    "first",
    "header",
    "json_field",
    "path_param",
    "query",
    "session_of",
]


class _Request(FrameworkRequest):
    @property
    def body(self) -> bytes:
        # Sanic has read it before the application runs, unless the handler reads it in parts.
        return self._scope["request"].body or b"" if self.is_json() else b""

    @property
    def peer(self) -> str:
        peer: str = self._scope["request"].ip
        return peer

    @property
    def query_string(self) -> bytes:
        query_string: str = self._scope["request"].query_string
        return query_string.encode()


class _Sessions(MiddlewareBase):
    _request_type = _Request

    def open(self, request: sanic.Request) -> tuple[Session | None, bool]:
        """Return the session of a request, and whether it is that of an outer middleware.

        The session is ``None`` if the environment holds a wrong setting.
        """
        manager = self._manager or self._find_manager()
        if manager is None:
            return None, False
        is_inside = request.app.asgi and SESSION in request.scope
        incoming = self._incoming
        if incoming is None:
            return open_session(manager) if is_inside else (manager.new_session(), False)
        scope = {"request": request, "headers": request.headers, "scheme": request.scheme}

        def make() -> Session:
            return incoming.session(manager, scope)

        return open_session(manager, make=make) if is_inside else (make(), False)

    async def add_headers(self, request: sanic.Request, response: Any) -> sanic.HTTPResponse | None:
        """Return the response with the configured headers added, ``None`` if it has all of them."""
        session = session_of(request)
        if session is None:
            return None
        present = [(name, str(value)) for name, value in response.headers.items()]
        missing = missing_headers(self._headers_of(session), present)
        if not missing:
            return None
        if isinstance(response, sanic.response.BaseHTTPResponse):
            # The application may use the same response for several requests.
            response = copy(response)
            response.headers = response.headers.copy()
            response._cookies = None  # as they write to the former headers
        for name, value in missing:
            response.headers.add(name, value)
        answered: sanic.HTTPResponse = response
        return answered

    @property
    def adds_headers(self) -> bool:
        """Whether a header is configured."""
        return self._adds_headers

    def _native_request(self, scope: MutableMapping[str, Any]) -> sanic.Request[Any, Any]:
        request: sanic.Request[Any, Any] = scope["request"]
        return request


class SessionSanic(sanic.Sanic[Any, Any]):
    """A ``Sanic`` that makes each request the scope of a session.

    The scope includes handlers, middlewares, streams, answers to errors and tasks of ``add_task``, and a
    WebSocket as long as it is open. Datapoints are sent before a server process ends. On an ASGI server, the
    session of a middleware of ours around the application is joined.

    Args:
        name: the name of the application.
        manager: for ``manager``, ``key``, ``cookie``, ``response_header``, ``trust`` and ``via_proxies`` see
            :class:`~hl_sessions.integrations.middleware.MiddlewareBase`. The argument of functions for
            ``key`` and ``trust`` is the request of Sanic.
        settings: the other arguments of ``Sanic``.

    Raises:
        ConfigurationError: an option is wrong.
    """

    __slots__ = ("_sessions",)

    def __init__(
        self,
        name: str,
        *,
        manager: SessionManager | None = None,
        key: Key | None = None,
        cookie: SignedCookie | None = None,
        response_header: str | None = None,
        trust: Trust | None = None,
        via_proxies: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        self._sessions = _Sessions(
            None,
            manager,
            key=key,
            cookie=cookie,
            response_header=response_header,
            trust=trust,
            via_proxies=via_proxies,
        )
        super().__init__(name, **settings)
        if self._sessions.adds_headers:
            # The last one: after a middleware that returns a response, Sanic calls no other.
            self.register_middleware(self._sessions.add_headers, "response", priority=sys.maxsize)
        self.register_listener(_flush, "after_server_stop")

    async def handle_request(self, request: sanic.Request) -> None:
        """Handle a request in the scope of a session."""
        session, is_joined = self._sessions.open(request)
        request.ctx.hl_session = session
        opened = None if is_joined else session
        if request_observers and opened is not None:
            note_request(opened)
        token = enter_session(session)
        try:
            await super().handle_request(request)
        finally:
            try:
                leave_session(token)
            except ValueError:
                pass  # an unfinished request may be closed in another context
            if opened is not None:
                opened._leave()
                note_end(opened, request.method, request.path)

    async def handle_exception(
        self,
        request: sanic.Request,
        exception: BaseException,
        run_middleware: bool = True,  # noqa: FBT001, FBT002 - as in Sanic
    ) -> None:
        """Answer an error, also one that has ended :meth:`handle_request`, such as a time-out."""
        token = enter_session(session_of(request))
        try:
            await super().handle_exception(request, exception, run_middleware)
        finally:
            leave_session(token)


def session_of(request: sanic.Request) -> Session | None:
    """Return the session of a request, in any task or thread; ``None`` if it has none."""
    session: Session | None = getattr(request.ctx, "hl_session", None)
    return session


async def _flush(_: object) -> None:
    # Forked workers end without Python's exit handlers.
    await aflush_all(DEFAULT_TIMEOUT)
