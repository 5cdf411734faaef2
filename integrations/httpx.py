"""The current session on HTTPX calls to other services.

.. code-block:: python

    http = propagate(httpx.AsyncClient(), hosts=["retrieval.internal"])

Clients of ``httpx2`` work, too.
"""

from __future__ import annotations

import weakref
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hl_sessions.carrying.headers import BAGGAGE_KEY, SIGNATURE_HEADER, baggage_values
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
    headers: Any

    def _transport_for_url(self, url: Any) -> Any: ...


_SIGNATURE = SIGNATURE_HEADER.encode()
_SIGNATURE_IN_LOWER_CASE = _SIGNATURE.lower()

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
    is_async = hasattr(type(client), "aclose")  # a subclass may wrap coroutine functions in plain ones
    kind = _AsyncTransport if is_async else _Transport
    outbound = Outbound(hosts, carrier, secret)
    set_through(client, through, "send", is_async=is_async)
    changed: Any = client
    # The public way works only before a client is made.
    changed._transport_for_url = _Transports(client, kind, outbound)
    return client


class _Transports:
    """Replaces a method of a client: returns the transport for a URL."""

    def __init__(self, client: Any, kind: type[_Transport | _AsyncTransport], outbound: Outbound) -> None:
        self._client = weakref.ref(client)  # weak, as the client holds this object
        self._kind = kind
        self._addition = _Addition(outbound, type(client.headers))
        self._hosts = frozenset(host.encode() for host in outbound.hosts_on_all_ports)
        self._covers = outbound.covers
        self._last: _Transport | _AsyncTransport | None = None

    def __call__(self, url: Any) -> Any:
        client: Any = self._client()
        transport = type(client)._transport_for_url(client, url)
        host = url.raw_host
        if host not in self._hosts and not self._covers(url.scheme, host.decode("ascii"), url.port):
            return transport
        last = self._last
        if last is None or last.transport is not transport:
            last = self._last = self._kind(transport, self._addition)
        return last


class _Transport:
    """Adds the session to requests, and sends them by another transport."""

    def __init__(self, transport: Any, addition: _Addition) -> None:
        self.transport = transport
        self._addition = addition

    def handle_request(self, request: Any) -> Any:
        addition, session = self._addition, current_session()
        own = addition.own(request.headers)
        if own is not None and addition.outbound.has_session(own):
            request = _with_session_of_caller(request, addition.outbound, own)
        elif session is not None and (session_id := session.id) is not None:
            request = addition.to(request, own, session_id)
        return self.transport.handle_request(request)


class _AsyncTransport:
    """Adds the session to requests, and sends them by another asynchronous transport."""

    def __init__(self, transport: Any, addition: _Addition) -> None:
        self.transport = transport
        self._addition = addition

    async def handle_async_request(self, request: Any) -> Any:
        addition, session = self._addition, current_session()
        own = addition.own(request.headers)
        if own is not None and addition.outbound.has_session(own):
            request = _with_session_of_caller(request, addition.outbound, own)
        elif session is not None and (session_id := await session.aid()) is not None:
            request = addition.to(request, own, session_id)
        return await self.transport.handle_async_request(request)


class _Addition:
    """The session as an addition to the headers of requests.

    HTTPX's own methods search and decode all headers at each step, which takes longer than all else here. So
    where headers are a list as we know it, that is read and copied instead.

    Args:
        outbound: the calls that carry the session.
        kind: the type of the client's headers.
    """

    def __init__(self, outbound: Outbound, kind: type) -> None:
        self.outbound = outbound
        self._kind: Any = kind if _is_list(kind) else None
        self._name = outbound.header.encode()
        self._name_in_lower_case = self._name.lower()

    def own(self, headers: Any) -> str | None:
        """Return the value that headers have without the session, ``None`` if there is none."""
        if type(headers) is self._kind:
            wanted = self._name_in_lower_case
            for _, name, _ in headers._list:
                if name == wanted:
                    break
            else:
                return None
        value: str | None = _copied(headers).get(self.outbound.header)
        return value

    def to(self, request: Any, own: str | None, session_id: str) -> Any:
        """Return a copy of a request whose headers carry a session beside their own value."""
        outbound, headers = self.outbound, request.headers
        if own is not None or type(headers) is not self._kind:
            headers = _copied(headers)
            value = outbound.add_to(headers, own, session_id, None)
            headers.encoding = None  # for other code, HTTPX finds it
            return _with_headers(request, headers, outbound, session_id, value)
        value = outbound.with_session(None, session_id)
        items = [*headers._list, (self._name, self._name_in_lower_case, value.encode())]
        if outbound.is_signed:
            host = None
            for _, name, text in items:
                if name == b"host":
                    host = text
                    break
            signature = outbound.signature(session_id, host)
            if signature is not None:
                items = [item for item in items if item[1] != _SIGNATURE_IN_LOWER_CASE]
                items.append((_SIGNATURE, _SIGNATURE_IN_LOWER_CASE, signature.encode()))
        changed = object.__new__(self._kind)
        changed._list, changed._encoding = items, None
        return _with_headers(request, changed, outbound, session_id, value)


def _is_list(kind: type) -> bool:
    """Whether headers of this type are a list of their names, also in lower case, and values.

    This is not documented.
    """
    try:
        parts: dict[str, object] = vars(kind([("Name", "value")]))
    except Exception:  # noqa: BLE001 - a subclass may raise any exception
        return False
    return parts == {"_list": [(b"Name", b"name", b"value")], "_encoding": None}


def _copied(headers: Any) -> Any:
    """Return a copy of headers in which each byte of a value is a character.

    HTTPX would look through all headers for their encoding, and keep it for what other code adds.
    """
    try:
        return type(headers)(headers, encoding="iso-8859-1")
    except TypeError:  # a subclass with other parameters
        return headers.copy()


def _with_session_of_caller(request: Any, outbound: Outbound, own: str) -> Any:
    """Return a copy of a request that keeps the session which the caller has named in it."""
    named = next(baggage_values(own, BAGGAGE_KEY), None)
    if named is None:  # it is named in X-Session-ID, which no other code writes
        return request
    headers = _copied(request.headers)
    headers.encoding = None
    return _with_headers(request, headers, outbound.unsigned, named, own)


def _with_headers(request: Any, headers: Any, outbound: OutboundHeaders, session_id: str, value: str) -> Any:
    """Return a copy of a request that has these headers, and keeps the session in them.

    HTTPX builds a redirected request, possibly to another host, from the original.
    """
    kind: Any = type(request)
    changed = object.__new__(_kind_with_session(kind))
    changed.__dict__ = request.__dict__  # shared, as a body can be read once for both
    changed._headers, changed._is_known = headers, False
    changed._added = outbound, session_id, value
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
