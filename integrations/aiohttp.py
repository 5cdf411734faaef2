"""A session for each request of an aiohttp server, and on calls of aiohttp's client.

.. code-block:: python

    app = web.Application(middlewares=[HLSessionMiddleware()])

    http = propagate(aiohttp.ClientSession(), hosts=["retrieval.internal"])
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations.cookies import SignedCookie
from hl_sessions.integrations.gateway import FrameworkRequest
from hl_sessions.integrations.keys import baggage, first, header, json_field, path_param, query
from hl_sessions.integrations.middleware import MiddlewareBase, missing_headers
from hl_sessions.integrations.outbound import Carrier, Outbound
from hl_sessions.integrations.outbound_baggage import Through, set_through
from hl_sessions.process.once import Once
from hl_sessions.process.saying import say
from hl_sessions.scopes.scope import open_session
from hl_sessions.sessions.current import current_session, enter_session, innermost_session
from hl_sessions.sessions.late_reads import note_end
from hl_sessions.sessions.opened import note_request, request_observers

try:
    import aiohttp
    from aiohttp import web
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.aiohttp needs aiohttp: pip install 'hl-sessions[aiohttp]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence

    from hl_sessions.carrying import SharedSecret
    from hl_sessions.integrations.incoming import Incoming, Key, Trust
    from hl_sessions.manager import SessionManager
    from hl_sessions.sessions.session import Session

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
    ClientHandler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]

__all__ = [
    "HLSessionMiddleware",
    "SignedCookie",
    "baggage",
    "first",
    "header",
    "json_field",
    "path_param",
    "propagate",
    "query",
    "session_of",
]

_NAME = "hl_sessions.session"
# aiohttp 3.14 warns of keys that are strings; earlier versions have only those.
_SESSION: Any = web.RequestKey(_NAME, object) if hasattr(web, "RequestKey") else _NAME

_once = Once()


class _Request(FrameworkRequest):
    CAN_AWAIT = True

    @property
    def peer(self) -> str:
        return self._scope["request"].remote or ""

    @property
    def query_string(self) -> bytes:
        query_string: str = self._scope["request"].rel_url.raw_query_string
        return query_string.encode()

    async def read_body(self, limit: int) -> bytes:
        """Read and return a JSON body, which ``request.read()`` and ``request.json()`` return again.

        The returned body is empty if it is not JSON, has no length, is compressed, or is longer than
        ``limit`` bytes.
        """
        request: web.Request = self._scope["request"]
        if request.client_max_size:  # 0: there is no maximum
            limit = min(limit, request.client_max_size)
        if not self.is_json() or not 0 < (request.content_length or 0) <= limit:
            return b""
        if "Content-Encoding" in request.headers:  # the length of the content is unknown
            return b""
        return await request.read()


class _Version:
    """The version of a middleware, which aiohttp reads when a server starts; a class is refused there."""

    def __get__(self, middleware: object, kind: type) -> int:
        if middleware is None:
            raise ConfigurationError(f"middlewares takes {kind.__name__}(), not {kind.__name__} itself")
        return 1


class HLSessionMiddleware(MiddlewareBase):
    """A middleware of aiohttp's server that makes each request the scope of a session.

    The scope lasts until aiohttp has finished the request. It includes streamed bodies, the signal
    ``on_response_prepare``, answers to errors and the access log, and a WebSocket as long as it is open. Put
    this middleware first in ``middlewares``.

    ``response_header`` and ``cookie`` need a receiver of the signal:

    .. code-block:: python

        sessions = HLSessionMiddleware(response_header="X-Session-ID")
        app = web.Application(middlewares=[sessions])
        app.on_response_prepare.append(sessions.add_headers)

    The arguments are those of :class:`~hl_sessions.integrations.middleware.MiddlewareBase`. The argument of
    functions for ``key`` and ``trust`` is the ``web.Request``. A body that ``json_field(...)`` has read is
    not in ``request.content`` any more.
    """

    __middleware_version__ = _Version()
    _request_type = _Request

    def __init__(
        self,
        manager: SessionManager | None = None,
        *,
        key: Key | None = None,
        cookie: SignedCookie | None = None,
        response_header: str | None = None,
        trust: Trust | None = None,
        via_proxies: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            None,
            manager,
            key=key,
            cookie=cookie,
            response_header=response_header,
            trust=trust,
            via_proxies=via_proxies,
        )

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Return an awaitable that handles the request in the scope of a session."""
        manager = self._manager or self._find_manager()
        if manager is None:
            return handler(request)
        if self._incoming is not None:
            return self._handle_in_its_session(manager, self._incoming, request, handler)
        # These lines are on the path of every request, so this is no coroutine.
        if innermost_session() is None or _SESSION not in request:
            session = manager.new_session()
            _note_request(session, request)
        else:
            session = open_session(manager)[0]
        request[_SESSION] = session
        enter_session(session)  # never left: the task serves only this request, and finishes its response
        if self._adds_headers:
            self._check_signal(request)
        return handler(request)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the configured headers to a response: a receiver for ``on_response_prepare``."""
        session = session_of(request)
        if session is not None:
            for name, value in missing_headers(self._headers_of(session), response.headers.items()):
                response.headers.add(name, value)

    async def _handle_in_its_session(
        self, manager: SessionManager, incoming: Incoming, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        scope = {"request": request, "headers": request.headers, "scheme": request.scheme}
        body = b""
        if incoming.max_body:
            body = await _Request(scope, self._native_request).read_body(incoming.max_body)

        def make() -> Session:
            return incoming.session(manager, scope, body)

        # Joins the session of an outer application's middleware, never the one in the server's context.
        session, is_joined = open_session(manager, make=make) if _SESSION in request else (make(), False)
        if incoming.awaits_key and not is_joined:
            await incoming.await_key(session, scope)
        request[_SESSION] = session
        enter_session(session)
        if self._adds_headers:
            self._check_signal(request)
        if not is_joined:
            _note_request(session, request)
        return await handler(request)

    def _native_request(self, scope: MutableMapping[str, Any]) -> web.Request:
        request: web.Request = scope["request"]
        return request

    def _check_signal(self, request: web.Request) -> None:
        is_asked = any(self.add_headers in app.on_response_prepare for app in request.match_info.apps)
        if not is_asked and _once.is_first():
            say(
                logging.WARNING,
                "response_header and cookie have no effect without"
                " app.on_response_prepare.append(middleware.add_headers) (said once per process)",
            )


def _note_request(session: Session, request: web.Request) -> None:
    """Note that a request is being served, until its task is done."""
    if request_observers:
        note_request(session)
    task: Any = asyncio.current_task()
    task.add_done_callback(partial(_end, session, request))


def _end(session: Session, request: web.Request, _: object) -> None:
    session._leave()
    note_end(session, request.method, request.path)


def session_of(request: web.BaseRequest) -> Session | None:
    """Return the session of a request, in any task or thread; ``None`` if it has none."""
    session: Session | None = request.get(_SESSION)
    return session


def propagate(
    client: aiohttp.ClientSession,
    *,
    hosts: Collection[str],
    carrier: Carrier = "baggage",
    secret: SharedSecret | None = None,
    through: Through | None = None,
) -> aiohttp.ClientSession:
    """Let the calls of ``client`` to the listed hosts carry the current session.

    Such a call reads the ID like ``await session.aid()``. Calls without an ID, outside every scope, or to
    other hosts are sent unchanged, redirected ones too; so are calls whose header names a session already. A
    client middleware adds the session, so a call with ``middlewares=`` of its own carries none. A second
    ``propagate`` replaces the first.

    Args:
        client: the :class:`aiohttp.ClientSession`.
        hosts: for ``hosts``, ``carrier`` and ``secret`` see
            :class:`~hl_sessions.integrations.outbound.Outbound`.
        through: ``"opentelemetry"``: also put the ID into OpenTelemetry's own baggage during a call.
            Instrumented clients then send it to every host, listed or not, but never with a signature.

    Returns:
        ``client``.

    Raises:
        ConfigurationError: an argument is wrong.
        ImportError: ``through="opentelemetry"`` without OpenTelemetry.
    """
    if not isinstance(client, aiohttp.ClientSession):
        raise ConfigurationError(f"client must be an aiohttp.ClientSession, not {type(client).__name__}")
    ours = _ClientMiddleware(Outbound(hosts, carrier, secret))
    set_through(client, through, "_request", is_async=True)
    others = [each for each in client._middlewares if not isinstance(each, _ClientMiddleware)]
    client._middlewares = (*others, ours)  # the public way works only before a client is made
    return client


class _ClientMiddleware:
    """Adds the session to a request. For a redirect, aiohttp builds a new request without these headers."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandler
    ) -> aiohttp.ClientResponse:
        url, outbound, session = request.url, self._outbound, current_session()
        if session is not None and outbound.covers(url.scheme, url.raw_host, url.port):
            own = ",".join(request.headers.getall(outbound.header, [])) or None
            if not outbound.has_session(own):
                session_id = await session.aid()
                if session_id is not None:
                    return await self._send(request, handler, own, session_id)
        return await handler(request)

    async def _send(
        self, request: aiohttp.ClientRequest, handler: ClientHandler, own: str | None, session_id: str
    ) -> aiohttp.ClientResponse:
        headers = request.headers
        request.headers = headers.copy()
        self._outbound.add_to(request.headers, own, session_id, request.url.raw_host)
        try:
            return await handler(request)
        finally:
            request.headers = headers  # another middleware may send the request again, to another host
