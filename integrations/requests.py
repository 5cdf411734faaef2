"""The current session on calls of Requests to other services.

.. code-block:: python

    http = propagate(requests.Session(), hosts=["retrieval.internal"])
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations.outbound import Carrier, Outbound
from hl_sessions.integrations.outbound_baggage import Through, set_through
from hl_sessions.sessions.current import current_session

if TYPE_CHECKING:
    from collections.abc import Collection

    from hl_sessions.carrying import SharedSecret


__all__ = ["propagate"]

Client = TypeVar("Client", bound=requests.Session)


def propagate(
    client: Client,
    *,
    hosts: Collection[str],
    carrier: Carrier = "baggage",
    secret: SharedSecret | None = None,
    through: Through | None = None,
) -> Client:
    """Let the calls of ``client`` to the listed hosts carry the current session.

    Such a call reads the ID like ``session.id``. Calls without an ID, outside every scope, or to other hosts
    are sent unchanged, redirected ones too; so are calls whose header names a session already. Only the
    adapters that are mounted now are covered, so call this again after mounting another one. The last call
    replaces the others.

    Args:
        client: the :class:`requests.Session`.
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
    if not isinstance(client, requests.Session):
        kind = type(client)  # classes of other libraries may have the same name
        raise ConfigurationError(
            f"client must be a requests.Session, not a {kind.__name__} of {kind.__module__.partition('.')[0]}"
        )
    outbound = Outbound(hosts, carrier, secret)
    set_through(client, through, "send")
    for prefix, adapter in client.adapters.items():
        covered = adapter.adapter if isinstance(adapter, _PropagatingAdapter) else adapter
        client.adapters[prefix] = _PropagatingAdapter(covered, outbound)
    return client


class _PropagatingAdapter(BaseAdapter):
    """Adds the session to the requests that another adapter sends."""

    def __init__(self, adapter: BaseAdapter, outbound: Outbound) -> None:
        super().__init__()
        self.adapter = adapter
        self._outbound = outbound

    def __getattr__(self, name: str) -> Any:
        if name == "adapter" or name.startswith("__"):  # during a copy: not set yet, or not the other's
            raise AttributeError(name)
        return getattr(self.adapter, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("adapter", "_outbound") or hasattr(type(self), name):
            super().__setattr__(name, value)
        else:  # an attribute such as max_retries, which would have no effect here
            setattr(self.adapter, name, value)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send the request, or a copy of it that has the session."""
        sent = self._with_session(request)
        try:
            response = self.adapter.send(sent, *args, **kwargs)
        except requests.RequestException as error:
            if error.request is sent:
                error.request = request
            raise
        # Callers send the request of a response or an error again, also to other hosts and in other scopes.
        if response.request is sent:
            response.request = request
            response.connection = self  # type: ignore[assignment] # by which an answer to a challenge is sent
        return response

    def close(self) -> None:
        """Close the other adapter."""
        self.adapter.close()

    def _with_session(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        session, outbound = current_session(), self._outbound
        host = None if session is None else _host(request.url or "", outbound)
        if session is None or host is None:
            return request
        own = _text(request.headers.get(outbound.header))
        session_id = None if outbound.has_session(own) else session.id
        if session_id is None:
            return request
        # A copy: Requests builds a redirected request, possibly to another host, from the original.
        changed = object.__new__(type(request))
        if isinstance(request.headers, CaseInsensitiveDict):
            headers: Any = _Headers(request.headers, outbound, session_id)
        else:  # the caller has set another mapping
            headers = request.headers.copy()
        outbound.add_to(headers, own, session_id, host)
        vars(changed).update(vars(request), headers=headers)
        return changed


def _host(url: str, outbound: Outbound) -> str | None:
    """Return the host of a URL, ``None`` if calls to it do not carry the session."""
    try:
        parts = urlsplit(url)
        return _covered_host(outbound, parts.scheme, parts.netloc)
    except ValueError:  # the other adapter reports a wrong URL
        return None


@lru_cache(maxsize=128)  # most calls are to the same few services
def _covered_host(outbound: Outbound, scheme: str, netloc: str) -> str | None:
    parts = SplitResult(scheme, netloc, path="", query="", fragment="")
    return parts.hostname if outbound.covers(scheme, parts.hostname, parts.port) else None


class _Headers(CaseInsensitiveDict[Any]):
    """Headers that keep the session when other code writes them.

    OpenTelemetry's instrumentation of urllib3 writes them, below the adapters.
    """

    def __init__(self, headers: CaseInsensitiveDict[Any], outbound: Outbound, session_id: str) -> None:
        self._store = headers._store.copy()  # as setting each header would take as long as all other steps
        self._outbound = outbound
        self._session_id = session_id

    def __setitem__(self, name: str, value: Any) -> None:
        if name.lower() == self._outbound.header.lower():
            value = self._outbound.with_session(_text(value), self._session_id)
        super().__setitem__(name, value)

    def copy(self) -> CaseInsensitiveDict[Any]:
        return _Headers(self, self._outbound, self._session_id)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the secret, as caches keep responses on disk, with their requests.
        return CaseInsensitiveDict, (dict(self),)


def _text(header: str | bytes | None) -> str | None:
    return header.decode("latin-1") if isinstance(header, bytes) else header
