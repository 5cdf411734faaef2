"""A session for each call to a gRPC server, and on calls to other services.

.. code-block:: python

    server = grpc.server(ThreadPoolExecutor(), interceptors=[ServerInterceptor()])
    server = grpc.aio.server(interceptors=[AioServerInterceptor()])

    channel = grpc.intercept_channel(grpc.insecure_channel("retrieval:50051"), ClientInterceptor())
    channel = grpc.aio.insecure_channel("retrieval:50051", interceptors=aio_client_interceptors())
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextvars import copy_context
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hl_sessions.integrations.gateway import Request
from hl_sessions.integrations.keys import baggage, first, header
from hl_sessions.integrations.middleware import MiddlewareBase
from hl_sessions.integrations.outbound import Carrier, OutboundHeaders
from hl_sessions.integrations.outbound_baggage import aoutside, in_baggage, outside
from hl_sessions.sessions.calls import call_in
from hl_sessions.sessions.current import current_session, enter_session
from hl_sessions.sessions.late_reads import note_end
from hl_sessions.sessions.opened import note_request, note_scope, request_observers, scope_observers
from hl_sessions.sessions.wrapping import wrap

try:
    import grpc
    import grpc.aio
except ImportError as error:
    raise ImportError("hl_sessions.integrations.grpc needs gRPC: pip install 'hl-sessions[grpc]'") from error

# In older versions all calls share one context of interceptors, which would keep the first call's session.
if [int(part) for part in grpc.__version__.split(".")[:2] if part.isdigit()] < [1, 60]:
    raise ImportError(
        f"hl_sessions.integrations.grpc needs gRPC 1.60 or later, not {grpc.__version__}:"
        " pip install -U 'hl-sessions[grpc]'"
    )

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, MutableMapping, Sequence
    from contextvars import Context

    from hl_sessions.carrying import SharedSecret
    from hl_sessions.integrations.incoming import Incoming, Key, Trust
    from hl_sessions.manager import SessionManager
    from hl_sessions.sessions.session import Session

__all__ = [
    "AioServerInterceptor",
    "ClientInterceptor",
    "ServerInterceptor",
    "aio_client_interceptors",
    "baggage",
    "first",
    "header",
]

# Whether requests and responses are streams: the attribute of a handler's method, and its factory.
_KINDS: dict[tuple[bool, bool], tuple[str, Callable[..., Any]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class _Request(Request):
    """A call, whose headers are its metadata."""

    SCHEME = "scheme"
    content_type = ""
    query_string = b""

    @staticmethod
    def headers_in(
        scope: MutableMapping[str, Any],
        fields: Sequence[str],  # noqa: ARG004 - see the base
    ) -> MutableMapping[str, Any]:
        return {"metadata": scope["metadata"], "service": scope["service"]}

    @property
    def host(self) -> str:
        # Interceptors know the name of the service, on both sides, and the name of the host on neither.
        service: str = self._scope["service"]
        return service

    @property
    def peer(self) -> str:
        # Such as ipv4:127.0.0.1:50051, ipv6:%5B::1%5D:50051 or unix:/run/socket.
        kind, _, address = self._scope["context"].peer().partition(":")
        return unquote(address).rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else ""

    def header_names(self) -> set[str]:
        return {name for name, _ in self._scope["metadata"]}

    def headers(self, name: str) -> list[str]:
        name = name.lower()
        return [value for key, value in self._scope["metadata"] if key == name and isinstance(value, str)]

    def path_param(self, name: str) -> None:
        """Return ``None``: calls have no such parameters."""


class _ServerSessions(MiddlewareBase):
    """The base of the interceptors for both kinds of server."""

    _request_type = _Request

    def __init__(
        self, manager: SessionManager | None = None, *, key: Key | None = None, trust: Trust | None = None
    ) -> None:
        super().__init__(None, manager, key=key, trust=trust)

    def _native_request(self, scope: MutableMapping[str, Any]) -> Any:
        return scope["context"]


class ServerInterceptor(_ServerSessions, grpc.ServerInterceptor):
    """Interceptor of a ``grpc.server(...)`` that makes each call the scope of a session.

    The scope includes methods of all four kinds, their streams, and the log lines of gRPC about their errors.
    Callbacks (``context.add_callback``) are outside: use :func:`hl_sessions.bind`. Put this interceptor first
    in ``interceptors``.

    Args:
        manager: opens the sessions. ``None``: the one of :func:`hl_sessions.configure`.
        key: the place of the conversation key: ``header(...)`` for the metadata of the call, or a function of
            the ``ServicerContext`` that returns the key. ``None``: each call has its own session.
        trust: the callers whose session IDs in the metadata (``baggage`` or ``x-session-id``) are joined:
            networks of direct peers, a :class:`~hl_sessions.carrying.SharedSecret`, or a function of the
            ``ServicerContext``. ``None``: no caller.

    Raises:
        ConfigurationError: an option is wrong.
    """

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Return the handler of a call, which runs in the scope of a session."""
        manager = self._manager or self._find_manager()
        if manager is None:
            return continuation(handler_call_details)
        if self._incoming is None:
            # gRPC runs this function, and then the method, in a context of this call.
            session = manager.new_session()
            if scope_observers:
                note_scope(session)
            enter_session(session)
            return continuation(handler_call_details)
        opener = _opener(manager, self._incoming, handler_call_details, note_scope)
        return _in_session(continuation(handler_call_details), opener, stays=True)


class AioServerInterceptor(_ServerSessions, grpc.aio.ServerInterceptor):
    """Interceptor of a ``grpc.aio.server(...)``, with the arguments of :class:`ServerInterceptor`.

    Methods that are no coroutines run in threads, also in the session.
    """

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Return the handler of a call, which runs in the scope of a session."""
        manager = self._manager or self._find_manager()
        if manager is None:
            return await continuation(handler_call_details)
        opened: list[Session] = []
        task: Any = asyncio.current_task()  # the task of the call, in which a coroutine method runs, too
        task.add_done_callback(partial(_end, opened, handler_call_details.method))
        if self._incoming is None:
            session = manager.new_session()
            opened.append(session)
            if request_observers:
                note_request(session)
            enter_session(session)
            handler = await continuation(handler_call_details)
            if _is_async(handler):
                return handler
            return _in_session(handler, lambda _: session, stays=False)

        def note(session: Session) -> None:
            opened.append(session)
            note_request(session)

        enter_session(None)  # the server may have been started in a scope, whose context each call has
        handler = await continuation(handler_call_details)
        opener = _opener(manager, self._incoming, handler_call_details, note)
        return _in_session(handler, opener, stays=_is_async(handler))


def _end(opened: list[Session], method: str, _: object) -> None:
    for session in opened:
        note_end(session, "gRPC", method)


def _opener(
    manager: SessionManager, incoming: Incoming, details: Any, note: Callable[[Session], None]
) -> Callable[[Any], Session]:
    """Return a function that makes the session of a call, given its ``ServicerContext``.

    Args:
        manager: opens the session.
        incoming: finds the key, or the session of a caller.
        details: the details of the call that gRPC passes before it runs.
        note: called with the session.
    """
    service = _service(details.method)

    def open_session(context: Any) -> Session:
        metadata = context.invocation_metadata() or ()
        scope = {"context": context, "metadata": metadata, "service": service}
        session = incoming.session(manager, scope)
        note(session)
        return session

    return open_session


def _in_session(handler: Any, open_session: Callable[[Any], Session], *, stays: bool) -> Any:
    """Return a copy of a handler whose method runs in the session of the call.

    Args:
        handler: the handler; ``None``: there is no such method.
        open_session: makes the session, given the ``ServicerContext``.
        stays: whether the method is called in a context of this call only. The session then stays current to
            the end of the call, also for the work of gRPC after the method.
    """
    if handler is None:
        return None

    def open_call(_: Any, arguments: tuple[Any, ...], __: dict[str, Any]) -> tuple[Session, bool]:
        session = open_session(arguments[1])
        if stays:
            enter_session(session)
        return session, False

    name, make_handler = _KINDS[handler.request_streaming, handler.response_streaming]
    method = getattr(handler, name)
    if handler.response_streaming and not stays:
        method = _generating(method)
    method = wrap(method, lambda function: call_in(function, open_call))
    return make_handler(method, handler.request_deserializer, handler.response_serializer)


def _generating(method: Callable[..., Iterable[Any]]) -> Callable[..., Iterator[Any]]:
    """Return a generator function for a method that may return any iterator: its steps can be wrapped."""

    def generate(request: Any, context: Any) -> Iterator[Any]:
        yield from method(request, context)

    return generate


def _is_async(handler: Any) -> bool:
    if handler is None:
        return True
    method = getattr(handler, _KINDS[handler.request_streaming, handler.response_streaming][0])
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


class ClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Interceptor for ``grpc.intercept_channel(...)``: calls carry the current session.

    Such a call reads the ID like ``session.id``. Calls without an ID, outside every scope, or with a session
    in their metadata already are sent unchanged.

    Args:
        carrier: for ``carrier`` see :class:`~hl_sessions.integrations.outbound.OutboundHeaders`.
        secret: signs the ID, for a service with the same secret. The signature is valid for one service, such
            as ``retrieval.Search``, rather than for one host.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(self, *, carrier: Carrier = "baggage", secret: SharedSecret | None = None) -> None:
        self._outbound = OutboundHeaders(carrier, secret)

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make the call with the session in its metadata."""
        client_call_details = _readable(client_call_details)
        session = _session_for(client_call_details, self._outbound)
        session_id = None if session is None else session.id
        if session_id is None:
            return continuation(client_call_details, request)
        client_call_details = _with_session(client_call_details, self._outbound, session_id)
        if not self._outbound.is_written_over():
            return continuation(client_call_details, request)
        with in_baggage(session_id):
            called = continuation(client_call_details, request)
            # OpenTelemetry's interceptor makes a generator of a stream, and writes at its first step.
            return _steps(called, copy_context()) if inspect.isgenerator(called) else called

    def intercept_stream_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Make the call with the session in its metadata, and get the requests outside of that."""
        if self._outbound.is_written_over():
            request_iterator = outside(request_iterator)
        return self.intercept_unary_unary(continuation, client_call_details, request_iterator)

    intercept_unary_stream = intercept_unary_unary
    intercept_stream_stream = intercept_stream_unary


def aio_client_interceptors(
    *, carrier: Carrier = "baggage", secret: SharedSecret | None = None
) -> list[grpc.aio.ClientInterceptor]:
    """Return the interceptors for channels of ``grpc.aio``, one for each kind of method.

    They work like :class:`ClientInterceptor`, but read the ID like ``await session.aid()``.

    Args:
        carrier: for ``carrier`` and ``secret`` see :class:`ClientInterceptor`.
        secret: signs the ID.

    Raises:
        ConfigurationError: an argument is wrong.
    """
    outbound = OutboundHeaders(carrier, secret)
    return [kind(outbound) for kind in (_AioUnaryUnary, _AioUnaryStream, _AioStreamUnary, _AioStreamStream)]


class _AioClient:
    def __init__(self, outbound: OutboundHeaders) -> None:
        self._outbound = outbound

    async def _call(
        self, continuation: Callable[[Any, Any], Awaitable[Any]], client_call_details: Any, request: Any
    ) -> Any:
        client_call_details = _readable(client_call_details)
        session = _session_for(client_call_details, self._outbound)
        session_id = None if session is None else await session.aid()
        if session_id is not None:
            client_call_details = _with_session(client_call_details, self._outbound, session_id)
        with in_baggage(session_id if self._outbound.is_written_over() else None):
            return await continuation(client_call_details, request)

    async def _call_with_stream(
        self, continuation: Callable[[Any, Any], Awaitable[Any]], client_call_details: Any, requests: Any
    ) -> Any:
        if requests is not None and self._outbound.is_written_over():  # None: they are written by hand
            requests = (aoutside if hasattr(requests, "__aiter__") else outside)(requests)
        return await self._call(continuation, client_call_details, requests)


class _AioUnaryUnary(_AioClient, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary = _AioClient._call


class _AioUnaryStream(_AioClient, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream = _AioClient._call


class _AioStreamUnary(_AioClient, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = _AioClient._call_with_stream


class _AioStreamStream(_AioClient, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = _AioClient._call_with_stream


def _steps(generator: Generator[Any, Any, Any], context: Context) -> Iterator[Any]:
    """Run the steps of a generator in a context of their own."""
    try:
        while True:
            try:
                response = context.run(next, generator)
            except StopIteration:
                return
            yield response
    finally:
        context.run(generator.close)


def _session_for(details: Any, outbound: OutboundHeaders) -> Session | None:
    """Return the session that a call has to carry, ``None`` if its metadata names one already."""
    session = current_session()
    return None if session is None or outbound.has_session(_own(details, outbound)) else session


def _with_session(details: Any, outbound: OutboundHeaders, session_id: str) -> Any:
    """Return the details of a call with the session in its metadata."""
    headers: dict[str, str] = {}
    outbound.add_to(headers, _own(details, outbound), session_id, _service(details.method))
    added = {name.lower(): value for name, value in headers.items()}
    others = [(key, value) for key, value in details.metadata or () if key not in added]
    metadata: Any = (*others, *added.items())
    if isinstance(details.metadata, grpc.aio.Metadata):
        metadata = grpc.aio.Metadata(*metadata)
    return _with_metadata(details, metadata)


def _readable(details: Any) -> Any:
    """Return the details of a call with metadata that can be read more than once."""
    is_read_once = isinstance(details.metadata, Iterator)
    return _with_metadata(details, tuple(details.metadata)) if is_read_once else details


def _with_metadata(details: Any, metadata: Any) -> Any:
    if hasattr(details, "_replace"):
        return details._replace(metadata=metadata)
    changed = copy(details)  # made by another interceptor, so it may be no named tuple
    try:
        changed.metadata = metadata
    except AttributeError:  # it cannot be changed
        return grpc.aio.ClientCallDetails(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
        )
    return changed


def _service(method: str | bytes) -> str:
    """Return the name of a service, given the name of a method, such as ``/retrieval.Search/Find``."""
    name = method if isinstance(method, str) else method.decode()
    return name.rpartition("/")[0].removeprefix("/")


def _own(details: Any, outbound: OutboundHeaders) -> str | None:
    name = outbound.header.lower()
    values = [value for key, value in details.metadata or () if key == name]
    return ",".join(value if isinstance(value, str) else value.decode("latin-1") for value in values) or None
