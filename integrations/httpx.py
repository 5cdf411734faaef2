"""The current session on calls to other services that are made with HTTPX.

.. code-block:: python

    http = propagate(httpx.AsyncClient(), hosts=["retrieval.internal"])

Clients of ``httpx2`` work, too.
"""

from __future__ import annotations

import inspect
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations.outbound import Carrier, Outbound
from hl_sessions.sessions.current import current_session

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from hl_sessions.carrying import SharedSecret
    from hl_sessions.sessions.session import Session

if find_spec("httpx") is None and find_spec("httpx2") is None:
    raise ImportError("hl_sessions.integrations.httpx needs HTTPX: pip install 'hl-sessions[httpx]'")

__all__ = ["propagate"]


class _HTTPClient(Protocol):
    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]: ...


Client = TypeVar("Client", bound=_HTTPClient)

#: Where a request holds what its header is without the session.
_OWN = "hl_sessions.own"


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
    of your own in the header. It is done by event hooks: who assigns ``client.event_hooks`` anew calls this
    again; the last call counts.

    Args:
        client: an ``httpx.Client`` or ``httpx.AsyncClient``.
        hosts: as ``carrier`` and ``secret``, see :class:`~hl_sessions.integrations.outbound.Outbound`.

    Returns:
        ``client``.

    Raises:
        ConfigurationError: an argument is wrong.
    """
    event_hooks = getattr(client, "event_hooks", None)
    if not isinstance(event_hooks, dict):
        raise ConfigurationError(
            f"client must be an httpx.Client or httpx.AsyncClient, not {type(client).__name__}"
        )
    outbound = Outbound(hosts, carrier, secret)
    is_async = inspect.iscoroutinefunction(getattr(client, "send", None))
    hooks = _AsyncHooks(outbound) if is_async else _Hooks(outbound)
    for event, hook in (("request", hooks.request), ("response", hooks.response)):
        others = [other for other in event_hooks[event] if not _is_ours(other)]
        event_hooks[event] = [*others, hook]
    return client


def _is_ours(hook: Callable[..., Any]) -> bool:
    return isinstance(getattr(hook, "__self__", None), (_Hooks, _AsyncHooks))


class _Hooks:
    """Add the session to a request, and take it back when it is sent.

    HTTPX makes the redirected request, to whatever host, from the one that was sent.
    """

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    def request(self, request: Any) -> None:
        session = _session_for(request, self._outbound)
        if session is not None:
            _add(request, self._outbound, session.id)

    def response(self, response: Any) -> None:
        _take_back(response.request)


class _AsyncHooks:
    """The same for a client whose hooks are awaited."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def request(self, request: Any) -> None:
        session = _session_for(request, self._outbound)
        if session is not None:
            _add(request, self._outbound, await session.aid())

    async def response(self, response: Any) -> None:
        _take_back(response.request)


def _session_for(request: Any, outbound: Outbound) -> Session | None:
    _take_back(request)  # sent before, without an answer
    url, session = request.url, current_session()
    if (
        session is None
        or not outbound.covers(url.scheme, url.raw_host.decode("ascii"), url.port)
        or outbound.has_session(request.headers.get(outbound.header))
    ):
        return None
    return session


def _add(request: Any, outbound: Outbound, session_id: str | None) -> None:
    if session_id is not None:
        own = request.headers.get(outbound.header)
        request.extensions[_OWN] = (outbound.header, own)
        request.headers[outbound.header] = outbound.with_session(own, session_id)


def _take_back(request: Any) -> None:
    header, own = request.extensions.pop(_OWN, (None, None))
    if header is not None:
        del request.headers[header]
        if own is not None:
            request.headers[header] = own
