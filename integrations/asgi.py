"""A session for each HTTP request and each WebSocket connection of an ASGI application.

.. code-block:: python

    app = HLSessionMiddleware(app)
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, Protocol

from hl_sessions.client.client import DEFAULT_TIMEOUT
from hl_sessions.datapoints.sender import aflush_all
from hl_sessions.defaults import check_environment
from hl_sessions.errors import ConfigurationError, HLSessionsError
from hl_sessions.integrations.cookies import SignedCookie
from hl_sessions.integrations.gateway import SESSION, Request
from hl_sessions.integrations.keys import (
    baggage,
    django_path_param,
    first,
    header,
    json_field,
    path_param,
    query,
)
from hl_sessions.integrations.middleware import MiddlewareBase, missing_headers
from hl_sessions.integrations.websocket import MessageScopes
from hl_sessions.scopes.scope import open_session
from hl_sessions.sessions.current import enter_session, leave_session
from hl_sessions.sessions.late_reads import note_end, references
from hl_sessions.sessions.opened import note_request, request_observers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence

    from hl_sessions.integrations.incoming import Incoming, Key, Trust
    from hl_sessions.manager import SessionManager
    from hl_sessions.sessions.session import Session

    Message = MutableMapping[str, Any]
    ASGIScope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ASGIApplication = Callable[[ASGIScope, Receive, Send], Awaitable[None]]

    class HasScope(Protocol):
        """A request object with its ASGI scope, such as that of Starlette."""

        @property
        def scope(self) -> ASGIScope:
            """The ASGI scope of the request."""


__all__ = [
    "SESSION",
    "UNANSWERED",
    "HLSessionMiddleware",
    "SignedCookie",
    "baggage",
    "first",
    "header",
    "json_field",
    "path_param",
    "query",
    "session_of",
]

#: The scope's key of the functions that add headers to the error response, which the framework sends.
UNANSWERED = "hl_sessions.unanswered"

_WEBSOCKET = ("connection", "message")
_ENDS = frozenset({"lifespan.shutdown.complete", "lifespan.shutdown.failed"})
_RESPONSE_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


def session_of(request: ASGIScope | HasScope) -> Session | None:
    """Return the session of a request, also where the context is lost, such as in a bare thread.

    Args:
        request: its ASGI scope, or an object with the attribute ``scope``.

    Returns:
        The handle, ``None`` if no middleware of ours is around the application.
    """
    scope: Any = getattr(request, "scope", request)
    session: Session | None = scope.get(SESSION)
    return session


async def _count_references() -> int:
    scope: dict[str, object] = {}
    session = scope[SESSION] = object()
    try:
        await _return()
    finally:
        count = references(session)
    return count


async def _return() -> None:
    pass


def _own_references() -> int:
    try:
        _count_references().send(None)
    except StopIteration as end:
        count: int = end.value
    return count


# The number of references to a handle in the middleware and the scope. If there are no others, no code that
# was started in the request can read its session any more.
_OWN_REFERENCES = _own_references()


class _Request(Request):
    SCHEME = "scheme"
    CAN_AWAIT = True

    @staticmethod
    def field(name: str) -> bytes:
        return name.lower().encode("ascii")

    @staticmethod
    def headers_in(scope: ASGIScope, fields: Sequence[bytes]) -> ASGIScope:  # noqa: ARG004 - see the base
        return {"headers": scope["headers"]}

    @property
    def peer(self) -> str:
        client = self._scope.get("client")
        return client[0] if client else ""

    @property
    def query_string(self) -> bytes:
        query_string: bytes = self._scope.get("query_string") or b""
        return query_string

    def header_names(self) -> set[str]:
        return {key.decode("latin-1").lower() for key, _ in self._scope["headers"]}

    def headers(self, name: str) -> list[str]:
        field = self.field(name)
        return [value.decode("latin-1") for key, value in self._scope["headers"] if key.lower() == field]

    def path_param(self, name: str) -> object:
        params = self._scope.get("path_params")  # of Starlette
        if params is not None:
            return params.get(name)
        return django_path_param(self._scope["path"].removeprefix(self._scope.get("root_path", "")), name)

    async def read_body(self, receive: Receive, limit: int) -> tuple[bytes, Receive]:
        """Read a JSON body, and return it with a ``receive`` that receives it again.

        The returned body is empty if it is not JSON, or longer than ``limit`` bytes.
        """
        if self._scope["type"] != "http" or not self.is_json():
            return b"", receive
        messages: list[Message] = []
        size, is_complete = 0, False
        while size <= limit and not is_complete:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
        body = b"".join(message.get("body", b"") for message in messages)
        messages.reverse()

        async def receive_again() -> Message:
            return messages.pop() if messages else await receive()

        return body if is_complete and size <= limit else b"", receive_again


class HLSessionMiddleware(MiddlewareBase):
    """Pure ASGI middleware that makes each ``http`` and ``websocket`` scope the scope of a session.

    The scope lasts as long as the application runs, streaming and background tasks of the framework included.
    All messages pass through unchanged, with two exceptions at the ``lifespan``. The start-up fails if the
    environment holds a wrong setting that neither ``manager`` nor ``configure`` replaces. The shutdown waits
    some seconds until all datapoints are sent.

    The middleware joins the session of another such middleware around it, but never the one in the context of
    the server: uvicorn may run a request in a copy of the context of the former request on the connection.

    Args:
        app: the ASGI application.
        manager: opens the sessions. ``None``: the one of :func:`hl_sessions.configure`.
        eager: create the session before the application runs, off the event loop, so that a plain
            ``current_session_id()`` in async code never blocks. Each request then creates a session.
        websocket: ``"connection"``: all messages of a WebSocket are one session. ``"message"``: each message
            has its own session until the next ``receive()``; with ``key`` or ``cookie``, its own scope in the
            conversation of the connection. That session is current in the task that awaits ``receive()``, and
            in tasks that it starts for the message. Elsewhere, and at connect and disconnect, the session of
            the connection is current. A scope that the application has opened around ``receive()`` stays.
        key: for ``key``, ``cookie``, ``response_header``, ``trust`` and ``via_proxies`` see
            :class:`~hl_sessions.integrations.middleware.MiddlewareBase`. A coroutine function as ``key`` is
            awaited before the application runs and the route is known, even if the ID is never read.

    Raises:
        ConfigurationError: an option is wrong.
    """

    _has_start_up = True
    _gateway = "asgi"
    _request_type = _Request

    def __init__(
        self,
        app: ASGIApplication,
        manager: SessionManager | None = None,
        *,
        key: Key | None = None,
        cookie: SignedCookie | None = None,
        response_header: str | None = None,
        trust: Trust | None = None,
        via_proxies: Sequence[str] | None = None,
        eager: bool = False,
        websocket: Literal["connection", "message"] = "connection",
    ) -> None:
        super().__init__(
            app,
            manager,
            key=key,
            cookie=cookie,
            response_header=response_header,
            trust=trust,
            via_proxies=via_proxies,
        )
        if not isinstance(eager, bool):
            raise ConfigurationError(f"eager={eager!r} must be True or False")
        self._eager = eager
        if eager and self._incoming is not None and self._incoming.needs_route:
            raise ConfigurationError(f"key={key!r} is not known yet when eager=True creates the session")
        if websocket not in _WEBSOCKET:
            raise ConfigurationError(
                f"websocket={websocket!r} must be 'connection' for one session for all messages of a"
                " connection, or 'message' for one for each"
            )
        self._is_by_message = websocket == "message"
        self._has_options = eager or self._adds_headers or self._is_by_message

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Run the application in the scope of a session."""
        if scope["type"] != "http" and scope["type"] != "websocket":
            await self._run_without_session(scope, receive, send)
            return
        manager = self._manager or self._find_manager()
        if manager is None:
            await self.app(scope, receive, send)
            return
        if self._incoming is not None:
            await self._run_in_its_session(manager, self._incoming, scope, receive, send)
            return
        # These lines are on the path of every request: one object, one set and one reset.
        is_inner = SESSION in scope
        session = scope[SESSION] = open_session(manager)[0] if is_inner else manager.new_session()
        if request_observers and not is_inner:
            note_request(session)
        token = enter_session(session)
        try:
            if not self._has_options:
                await self.app(scope, receive, send)
            else:
                await self._run_with_options(manager, scope, receive, send, session)
        finally:
            try:
                leave_session(token)
            except ValueError:
                pass  # an unfinished request may be closed in another context
            if references(session) > _OWN_REFERENCES and not is_inner:
                note_end(session, scope.get("method", "WebSocket"), scope.get("path", ""))

    async def _run_in_its_session(
        self, manager: SessionManager, incoming: Incoming, scope: ASGIScope, receive: Receive, send: Send
    ) -> None:
        is_inner = SESSION in scope
        if (shortcut := incoming.shortcut)[0] is manager and not is_inner:
            session, is_joined = shortcut[1](), False
            session._scope = scope if incoming.needs_scope else {"headers": scope["headers"]}
            session._entered = monotonic()
            if incoming.scheme is not None:
                session._scheme = scope.get(incoming.scheme)
        else:
            session, is_joined, receive = await self._open(manager, incoming, scope, receive)
        scope[SESSION] = session
        if request_observers and not is_inner:
            note_request(session)
        token = enter_session(session)
        try:
            if not self._has_options:
                await self.app(scope, receive, send)
            else:
                await self._run_with_options(manager, scope, receive, send, session)
        finally:
            try:
                leave_session(token)
            except ValueError:
                pass  # an unfinished request may be closed in another context
            if references(session) > _OWN_REFERENCES and not is_inner:
                note_end(session, scope.get("method", "WebSocket"), scope.get("path", ""))
            if manager.conversations.become_idle and not is_joined:
                session._leave()

    async def _run_without_session(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _run_lifespan(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        failure: ConfigurationError | None = None

        async def send_checked(message: Message) -> None:
            nonlocal failure
            if message["type"] in _ENDS:
                # Servers such as uvicorn then end the process by a signal, without Python's exit handlers.
                await aflush_all(DEFAULT_TIMEOUT)
            # Checked now, as the application may call configure() at its start-up.
            if message["type"] == "lifespan.startup.complete" and self._manager is None:
                try:
                    check_environment()
                except ConfigurationError as error:
                    failure = error
            if failure is None:
                await send(message)

        async def receive_or_end() -> Message:
            # The application cleans up before the server learns of the failure and ends the process.
            return await receive() if failure is None else {"type": "lifespan.shutdown"}

        await self.app(scope, receive_or_end, send_checked)
        if failure is not None:
            await send({"type": "lifespan.startup.failed", "message": str(failure)})
            raise failure  # as Starlette does: its test client waits for it

    async def _open(
        self, manager: SessionManager, incoming: Incoming, scope: ASGIScope, receive: Receive
    ) -> tuple[Session, bool, Receive]:
        """Return the session, whether it is that of an outer middleware, and a ``receive`` for the body."""
        body = b""
        if incoming.max_body:
            request = _Request(scope, self._native_request)
            body, receive = await request.read_body(receive, incoming.max_body)

        def make() -> Session:
            return incoming.session(manager, scope, body)

        session, is_joined = open_session(manager, make=make) if SESSION in scope else (make(), False)
        if incoming.awaits_key and not is_joined:
            await incoming.await_key(session, scope)
        return session, is_joined, receive

    async def _run_with_options(
        self, manager: SessionManager, scope: ASGIScope, receive: Receive, send: Send, session: Session
    ) -> None:
        if self._eager:
            with suppress(HLSessionsError):  # the application gets the error when it reads
                await session.aid()
        if not (self._is_by_message and scope["type"] == "websocket"):
            await self._run_adding_headers(scope, receive, send, session)
            return
        messages = MessageScopes(session, manager, receive, eager=self._eager)
        try:
            await self._run_adding_headers(scope, messages.receive, send, session)
        finally:
            messages.leave()

    async def _run_adding_headers(
        self, scope: ASGIScope, receive: Receive, send: Send, session: Session
    ) -> None:
        if not self._adds_headers:
            await self.app(scope, receive, send)
            return
        has_started = False
        # A framework around this middleware has set "app", and answers errors itself.
        is_outermost = "app" not in scope

        def send_with_headers(message: Message) -> Awaitable[None]:
            nonlocal has_started
            if not has_started and message["type"] in _RESPONSE_STARTS:
                has_started = True
                wanted = self._headers_of(session)
                if wanted:
                    message = {**message, "headers": _with_headers(wanted, message.get("headers", ()))}
            return send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            if scope["type"] == "http" and not has_started:
                if not is_outermost:
                    scope.setdefault(UNANSWERED, []).append(partial(self.with_header, session=session))
                elif self._response_header is not None and session.peek() is not None:
                    # Else the server would answer, without the header.
                    await _send_server_error(send_with_headers)
            raise

    def with_header(
        self, headers: Iterable[tuple[bytes, bytes]], session: Session
    ) -> list[tuple[bytes, bytes]]:
        """Return response headers with the configured ones added, if there is a session ID."""
        return _with_headers(self._headers_of(session), headers)


def _with_headers(
    wanted: list[tuple[str, str]], headers: Iterable[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    headers = list(headers)
    present = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    missing = missing_headers(wanted, present)
    return headers + [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in missing]


async def _send_server_error(send: Send) -> None:
    body = b"Internal Server Error"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
