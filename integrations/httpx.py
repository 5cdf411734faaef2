"""The current session on HTTPX calls to other services.

.. code-block:: python

    http = propagate(httpx.AsyncClient(), hosts=["retrieval.internal"])

Clients of ``httpx2`` work, too.
"""

from __future__ import annotations

import inspect
import weakref
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hl_sessions.carrying.headers import BAGGAGE_KEY, baggage_values
from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations.outbound import Carrier, Outbound, OutboundHeaders
from hl_sessions.integrations.outbound_baggage import Through, set_through
from hl_sessions.sessions.current import current_session

if TYPE_CHECKING:
    from collections.abc import Collection

    from hl_sessions.carrying import SharedSecret

if find_spec("httpx") is None and find_spec("httpx2") is None:
    raise ImportError("hl_sessions.integrations.httpx needs HTTPX: pip install 'hl-sessions[httpx]'")

__all__ = ["propagate"]


class _HTTPClient(Protocol):
    def _transport_for_url(self, url: Any) -> Any: ...


Client = TypeVar("Client", bound=_HTTPClient)


def propagate(
    client: Client,
    *,
    hosts: Collection[str],
    carrier: Carrier = "baggage",
    secret: SharedSecret | None = None,
    through: Through | None = None,
) -> Client:
    """Let the calls of ``client`` to the listed hosts carry the current session.

    Such a call reads the ID like ``session.id``, or like ``await session.aid()``. Calls without an ID,
    outside every scope, or to other hosts are sent unchanged, redirected ones too; so are calls whose header
    names a session already. If other code writes the header of a call, such as OpenTelemetry, the session is
    added to that header. A second ``propagate`` replaces the first.

    Args:
        client: an ``httpx.Client`` or ``httpx.AsyncClient``.
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
    if isinstance(client, type) or not hasattr(client, "_transport_for_url"):
        raise ConfigurationError(
            f"client must be an httpx.Client or httpx.AsyncClient, not {type(client).__name__}"
        )
    is_async = inspect.iscoroutinefunction(getattr(type(client), "send", None))
    kind = _AsyncTransport if is_async else _Transport
    outbound = Outbound(hosts, carrier, secret)
    set_through(client, through, "send", is_async=is_async)
    changed: Any = client
    # The public way works only before a client is made.
    changed._transport_for_url = _Transports(client, kind, outbound)
    return client


class _Transports:
    """Replaces a method of a client: returns the transport for a URL."""

    def __init__(
        self, client: _HTTPClient, kind: type[_Transport | _AsyncTransport], outbound: Outbound
    ) -> None:
        self._client = weakref.ref(client)  # weak, as the client holds this object
        self._kind = kind
        self._outbound = outbound
        self._covers = lru_cache(maxsize=128)(outbound.covers)  # most calls are to the same few services

    def __call__(self, url: Any) -> Any:
        client: Any = self._client()
        transport = type(client)._transport_for_url(client, url)
        if not self._covers(url.scheme, url.raw_host.decode("ascii"), url.port):
            return transport
        return self._kind(transport, self._outbound)


class _Transport:
    """Adds the session to requests, and sends them by another transport."""

    def __init__(self, transport: Any, outbound: Outbound) -> None:
        self._transport = transport
        self._outbound = outbound

    def handle_request(self, request: Any) -> Any:
        outbound, session = self._outbound, current_session()
        headers = _copied(request.headers)
        own = headers.get(outbound.header)
        if outbound.has_session(own):
            request = _with_session_of_caller(request, headers, outbound, own)
        elif session is not None and (session_id := session.id) is not None:
            value = outbound.add_to(headers, own, session_id, None)
            request = _with_headers(request, headers, (outbound, session_id, value))
        return self._transport.handle_request(request)


class _AsyncTransport:
    """Adds the session to requests, and sends them by another asynchronous transport."""

    def __init__(self, transport: Any, outbound: Outbound) -> None:
        self._transport = transport
        self._outbound = outbound

    async def handle_async_request(self, request: Any) -> Any:
        outbound, session = self._outbound, current_session()
        headers = _copied(request.headers)
        own = headers.get(outbound.header)
        if outbound.has_session(own):
            request = _with_session_of_caller(request, headers, outbound, own)
        elif session is not None and (session_id := await session.aid()) is not None:
            value = outbound.add_to(headers, own, session_id, None)
            request = _with_headers(request, headers, (outbound, session_id, value))
        return await self._transport.handle_async_request(request)


def _copied(headers: Any) -> Any:
    """Return a copy of headers in which each byte of a value is a character.

    HTTPX would look through all headers for their encoding, which takes longer than adding the session.
    """
    try:
        return type(headers)(headers, encoding="iso-8859-1")
    except TypeError:  # a subclass with other parameters
        return headers.copy()


def _with_session_of_caller(request: Any, headers: Any, outbound: Outbound, own: str) -> Any:
    """Return a copy of a request that keeps the session which the caller has named in it."""
    named = next(baggage_values(own, BAGGAGE_KEY), None)
    if named is None:  # it is named in X-Session-ID, which no other code writes
        return request
    return _with_headers(request, headers, (outbound.unsigned, named, own))


def _with_headers(request: Any, headers: Any, added: tuple[OutboundHeaders, str, str]) -> Any:
    """Return a copy of a request that has these headers, and keeps the session in them.

    HTTPX builds a redirected request, possibly to another host, from the original.
    """
    headers.encoding = None  # for other code, HTTPX finds it
    kind: Any = type(request)
    changed = object.__new__(_kind_with_session(kind))
    changed.__dict__ = request.__dict__  # shared, as a body can be read once for both
    changed._headers, changed._added, changed._is_known = headers, added, False
    return changed


class _WithSession:
    """A request that keeps the session in its headers when other code writes them.

    OpenTelemetry replaces them inside the innermost transport, so no transport could act later.
    """

    __slots__ = ("_added", "_headers", "_is_known")
    _added: tuple[OutboundHeaders, str, str]
    _headers: Any
    #: Whether other code knows the headers, and may have written them.
    _is_known: bool

    @property
    def headers(self) -> Any:
        if self._is_known:
            outbound, session_id, value = self._added
            own = self._headers.get(outbound.header)
            if own != value:
                self._added = outbound, session_id, outbound.add_to(self._headers, own, session_id, None)
        self._is_known = True
        return self._headers

    @headers.setter
    def headers(self, headers: Any) -> None:
        self._headers, self._is_known = headers, True

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is an ordinary request, without the secret: caches keep requests on disk.
        kind: Any = type(self).__mro__[2]
        return object.__new__, (kind,), {**kind.__getstate__(self), "headers": self.headers}


@cache
def _kind_with_session(kind: type) -> Any:
    return type(kind.__name__, (_WithSession, kind), {})
