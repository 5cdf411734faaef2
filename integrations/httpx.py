"""The current session on calls to other services that are made with HTTPX.

.. code-block:: python

    http = propagate(httpx.AsyncClient(), hosts=["retrieval.internal"])

Clients of ``httpx2`` work, too.
"""

from __future__ import annotations

import inspect
import weakref
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hl_sessions.carrying.headers import SIGNATURE_HEADER
from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations.outbound import Carrier, Outbound
from hl_sessions.sessions.current import current_session

if TYPE_CHECKING:
    from collections.abc import Collection

    from hl_sessions.carrying import SharedSecret
    from hl_sessions.sessions.session import Session

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
) -> Client:
    """Let the calls of ``client`` to the listed hosts carry the session of the scope they are made in.

    Such a call reads the ID as ``session.id`` does, or ``await session.aid()``. Without an ID, and outside
    every scope, it goes as it is; so do calls to other hosts, redirected ones too, and those with a session
    of your own in the header. Where something else writes the header of a call, as OpenTelemetry does, the
    session is added to that. The last call of this counts.

    Args:
        client: an ``httpx.Client`` or ``httpx.AsyncClient``.
        hosts: as ``carrier`` and ``secret``, see :class:`~hl_sessions.integrations.outbound.Outbound`.

    Returns:
        ``client``.

    Raises:
        ConfigurationError: an argument is wrong.
    """
    if isinstance(client, type) or not hasattr(client, "_transport_for_url"):
        raise ConfigurationError(
            f"client must be an httpx.Client or httpx.AsyncClient, not {type(client).__name__}"
        )
    is_async = inspect.iscoroutinefunction(getattr(client, "send", None))
    kind = _AsyncTransport if is_async else _Transport
    changed: Any = client
    # There is no public way but for a client that is still to be made.
    changed._transport_for_url = _Transports(client, kind, Outbound(hosts, carrier, secret))
    return client


class _Transports:
    """In place of a method of a client: returns what sends the requests for a URL."""

    def __init__(
        self, client: _HTTPClient, kind: type[_Transport | _AsyncTransport], outbound: Outbound
    ) -> None:
        self._client = weakref.ref(client)  # which holds this
        self._kind = kind
        self._outbound = outbound

    def __call__(self, url: Any) -> Any:
        client: Any = self._client()
        transport = type(client)._transport_for_url(client, url)
        if not self._outbound.covers(url.scheme, url.raw_host.decode("ascii"), url.port):
            return transport
        return self._kind(transport, self._outbound)


class _Transport:
    """Sends requests with the session by another transport."""

    def __init__(self, transport: Any, outbound: Outbound) -> None:
        self._transport = transport
        self._outbound = outbound

    def handle_request(self, request: Any) -> Any:
        session = _session_for(request, self._outbound)
        session_id = None if session is None else session.id
        if session_id is None:
            return self._transport.handle_request(request)
        with _Addition(request, self._outbound, session_id) as sent:
            return self._transport.handle_request(sent)


class _AsyncTransport:
    """The same for a client whose transport is awaited."""

    def __init__(self, transport: Any, outbound: Outbound) -> None:
        self._transport = transport
        self._outbound = outbound

    async def handle_async_request(self, request: Any) -> Any:
        session = _session_for(request, self._outbound)
        session_id = None if session is None else await session.aid()
        if session_id is None:
            return await self._transport.handle_async_request(request)
        with _Addition(request, self._outbound, session_id) as sent:
            return await self._transport.handle_async_request(sent)


def _session_for(request: Any, outbound: Outbound) -> Session | None:
    session = current_session()
    if session is None or outbound.has_session(request.headers.get(outbound.header)):
        return None
    return session


class _Addition:
    """The session in the headers of a request, while that is sent.

    The request itself is without it afterwards: HTTPX makes the redirected one, to whatever host, from it.
    """

    def __init__(self, request: Any, outbound: Outbound, session_id: str) -> None:
        self._request = request
        self._outbound = outbound
        self._session_id = session_id
        self._value: str | None = None

    def __enter__(self) -> Any:
        kind: Any = type(self._request)
        self._sent = object.__new__(_sent_kind(kind))
        self._sent._addition = self
        self._sent.__dict__ = self._request.__dict__  # what is done to one is done to the other
        return self._sent

    def __exit__(self, *_: object) -> None:
        state = self._request.__dict__
        self._sent.__dict__ = dict(state)  # as it was sent, for mocks that keep it
        headers = state["headers"] = state["headers"].copy()
        own = self._outbound.without_session(headers.pop(self._outbound.header, ""))
        if own is not None:
            headers[self._outbound.header] = own
        headers.pop(SIGNATURE_HEADER, None)
        del self._request, self._sent  # which holds this

    def add_to(self, headers: Any) -> None:
        """Add the session, unless it is there: the header may have been written anew."""
        own = headers.get(self._outbound.header)
        if self._value is None or own != self._value:
            self._value = self._outbound.with_session(own, self._session_id)
            headers[self._outbound.header] = self._value
            headers.update(self._outbound.signature(self._session_id, headers.get("Host")))


class _Sent:
    """A request that is sent: whoever writes its headers, the session is in them.

    OpenTelemetry replaces the header inside of the innermost transport, so nothing could come after it.
    """

    __slots__ = ("_addition",)
    _addition: _Addition

    @property
    def headers(self) -> Any:
        headers = self.__dict__["headers"]
        self._addition.add_to(headers)
        return headers

    @headers.setter
    def headers(self, headers: Any) -> None:
        self.__dict__["headers"] = headers


@cache
def _sent_kind(kind: type) -> Any:
    return type(kind.__name__, (_Sent, kind), {})
