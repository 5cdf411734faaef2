"""The current session on calls to other services that are made with Requests.

.. code-block:: python

    http = propagate(requests.Session(), hosts=["retrieval.internal"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

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
    """Let the calls of ``client`` to the listed hosts carry the session of the scope they are made in.

    Such a call reads the ID as ``session.id`` does. Without an ID, and outside every scope, it goes as it
    is; so do calls to other hosts, redirected ones too, and those with a session of your own in the header.
    The adapters that are mounted now are covered; after mounting another one, call this again: the last
    call counts.

    Args:
        client: the :class:`requests.Session`.
        hosts: as ``carrier`` and ``secret``, see :class:`~hl_sessions.integrations.outbound.Outbound`.
        through: ``"opentelemetry"``: the ID is in OpenTelemetry's own baggage, too, while a call is made, so
            that instrumented clients send it to every host, listed or not, but never with a signature.

    Returns:
        ``client``.

    Raises:
        ConfigurationError: an argument is wrong.
        ImportError: ``through="opentelemetry"`` without OpenTelemetry.
    """
    if not isinstance(client, requests.Session):
        kind = type(client)  # those of other libraries may have the same name
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
    """Adds the session to what another adapter sends."""

    def __init__(self, adapter: BaseAdapter, outbound: Outbound) -> None:
        super().__init__()
        self.adapter = adapter
        self._outbound = outbound

    def __getattr__(self, name: str) -> Any:
        if name == "adapter" or name.startswith("__"):  # not set yet, or not the other's, when it is copied
            raise AttributeError(name)
        return getattr(self.adapter, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("adapter", "_outbound") or hasattr(type(self), name):
            super().__setattr__(name, value)
        else:  # such as max_retries, which would have no effect here
            setattr(self.adapter, name, value)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send the request, or a copy of it that has the session."""
        return self.adapter.send(self._with_session(request), *args, **kwargs)

    def close(self) -> None:
        """Close the other adapter."""
        self.adapter.close()

    def _with_session(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        session, outbound = current_session(), self._outbound
        host = None if session is None else self._covered_host(request)
        if session is None or host is None:
            return request
        own = _text(request.headers.get(outbound.header))
        session_id = None if outbound.has_session(own) else session.id
        if session_id is None:
            return request
        # A copy: Requests makes the redirected request, to whatever host, from this one.
        changed = object.__new__(type(request))
        headers = request.headers.copy()
        outbound.add_to(headers, own, session_id, host)
        if isinstance(headers, CaseInsensitiveDict):  # the caller's may be any mapping
            headers = _Headers(headers, outbound, session_id)
        vars(changed).update(vars(request), headers=headers)
        return changed

    def _covered_host(self, request: requests.PreparedRequest) -> str | None:
        """Return the host that a request goes to, ``None`` if its requests do not carry the session."""
        try:
            parts = urlsplit(request.url or "")
            host = parts.hostname
            return host if self._outbound.covers(parts.scheme, host, parts.port) else None
        except ValueError:  # the other adapter says what is wrong with the URL
            return None


class _Headers(CaseInsensitiveDict[Any]):
    """Headers that keep the session, whoever writes them.

    OpenTelemetry's instrumentation of urllib3 does, below the adapters.
    """

    def __init__(self, headers: CaseInsensitiveDict[Any], outbound: Outbound, session_id: str) -> None:
        vars(self).update(vars(headers))  # as they are: to set each one would take as long as all the rest
        self._outbound = outbound
        self._session_id = session_id

    def __setitem__(self, name: str, value: Any) -> None:
        if name.lower() == self._outbound.header.lower():
            value = self._outbound.with_session(_text(value), self._session_id)
        super().__setitem__(name, value)

    def copy(self) -> CaseInsensitiveDict[Any]:
        return _Headers(CaseInsensitiveDict(self), self._outbound, self._session_id)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the secret: caches keep responses on disk, with the requests that they answer.
        return CaseInsensitiveDict, (dict(self),)


def _text(header: str | bytes | None) -> str | None:
    return header.decode("latin-1") if isinstance(header, bytes) else header
