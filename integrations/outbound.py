"""The calls to other services that carry the session, and their headers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote_plus

from hl_sessions.carrying import SharedSecret
from hl_sessions.carrying.headers import (
    BAGGAGE_HEADER,
    BAGGAGE_KEY,
    PLAIN_HEADER,
    SIGNATURE_HEADER,
    baggage_values,
    baggage_with,
)
from hl_sessions.carrying.hosts import parsed_host, shown_host
from hl_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["Carrier", "Outbound", "OutboundHeaders"]

Carrier = Literal["baggage", "header"]

_HEADERS = {"baggage": BAGGAGE_HEADER, "header": PLAIN_HEADER}
_DEFAULT_PORTS = {"http": 80, "https": 443}


class OutboundHeaders:
    """The headers, or the metadata, of a call that carries the session.

    Args:
        carrier: ``"baggage"``: a member of the W3C ``baggage`` header, beside its other members.
            ``"header"``: the header ``X-Session-ID``.
        secret: signs the ID in ``X-Session-Signature``, for services with the same secret. ``None``: no
            signature.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(self, carrier: Carrier, secret: SharedSecret | None) -> None:
        if carrier not in ("baggage", "header"):  # a tuple, as the value may not be hashable
            raise ConfigurationError(f"carrier={carrier!r} must be 'baggage' or 'header'")
        if secret is not None and not isinstance(secret, SharedSecret):
            raise ConfigurationError(
                f"secret must be a SharedSecret, not {type(secret).__name__} (value not shown):"
                " hl_sessions.carrying.SharedSecret('...')"
            )
        self._secret = secret
        #: Whether the ID is signed.
        self.is_signed = secret is not None
        #: The name of the header that carries the session.
        self.header = _HEADERS[carrier]
        #: Return the value of that header with the session, given its value without it, and the ID.
        self.with_session: Callable[[str | None, str], str] = (
            baggage_with if carrier == "baggage" else _only_session
        )

    def has_session(self, own: str | None) -> bool:
        """Whether the value ``own`` of :attr:`header` names a session that the caller has set, which stays.

        A session that OpenTelemetry forwards from the incoming request was not set by the caller.
        """
        if own is None or self.header == PLAIN_HEADER:
            return own is not None
        named = {unquote_plus(value) for value in baggage_values(own, BAGGAGE_KEY)}
        return bool(named) and named != {_sent_on_by_opentelemetry()}

    def is_written_over(self) -> bool:
        """Whether OpenTelemetry has baggage, and with it replaces the session in calls that it sees later."""
        get_all = getattr(sys.modules.get("opentelemetry.baggage"), "get_all", None)
        return self.header == BAGGAGE_HEADER and get_all is not None and bool(get_all())

    def add_to(self, headers: Any, own: str | None, session_id: str, host: str | None) -> str:
        """Add the session to the headers of a call, and return the new value of :attr:`header`.

        Args:
            headers: a mapping, of the type that the client uses.
            own: the value of :attr:`header` without the session.
            session_id: the ID.
            host: the name of the called host. A header ``Host`` takes precedence, as the service sees that.
        """
        value = headers[self.header] = self.with_session(own, session_id)
        if self.is_signed:
            signature = self.signature(session_id, headers.get("Host", host))
            if signature is not None:
                headers[SIGNATURE_HEADER] = signature
        return value

    def signature(self, session_id: str, host: Any) -> str | None:
        """Return the value of ``X-Session-Signature`` for a call to a host.

        Returns:
            The value; ``None`` if the call is not signed, or if no host can have this name, which the client
            reports.
        """
        if self._secret is None:
            return None
        try:
            return self._secret.sign(session_id, host.decode("latin-1") if isinstance(host, bytes) else host)
        except ValueError:
            return None


class Outbound(OutboundHeaders):
    """The calls that carry the session.

    Args:
        hosts: the names of the hosts to which calls carry the session, each with an optional port:
            ``"retrieval.internal"``, ``"localhost:9000"``. Without a port: all ports.
        carrier: for ``carrier`` and ``secret`` see :class:`OutboundHeaders`.
        secret: signs the ID.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(self, hosts: Collection[str], carrier: Carrier, secret: SharedSecret | None) -> None:
        super().__init__(carrier, secret)
        #: The headers for a session that the caller has named.
        self.unsigned = OutboundHeaders(carrier, None)
        self._hosts = _checked_hosts(hosts)
        #: The names of the hosts to which calls on all ports carry the session, in lower case.
        self.hosts_on_all_ports = frozenset(host for host, port in self._hosts if port is None)

    def covers(self, scheme: str, host: str | None, port: int | None) -> bool:
        """Whether calls to this host, on this port or the default one of the scheme, carry the session."""
        if not host:
            return False
        host = host.lower().removesuffix(".")
        return (host, None) in self._hosts or (host, port or _DEFAULT_PORTS.get(scheme)) in self._hosts


def _only_session(_: str | None, session_id: str) -> str:
    return session_id


def _checked_hosts(hosts: object) -> frozenset[tuple[str, int | None]]:
    hint = (
        "give a list of host names, each with an optional port, like ['retrieval.internal', 'localhost:9000']"
    )
    if not isinstance(hosts, (list, tuple, set, frozenset)):
        shown = f"={hosts!r}" if isinstance(hosts, str) and "@" not in hosts else ""
        raise ConfigurationError(f"hosts{shown} is a {type(hosts).__name__}; {hint}")
    if not hosts:
        raise ConfigurationError(f"hosts={hosts!r} is empty, so that no call would carry the session; {hint}")
    return frozenset(_checked_host(host, hint) for host in hosts)


def _checked_host(host: object, hint: str) -> tuple[str, int | None]:
    parsed = parsed_host(host)
    if parsed is None:
        raise ConfigurationError(f"hosts has {shown_host(host)}, which is not the name of a host; {hint}")
    return parsed


def _sent_on_by_opentelemetry() -> str | None:
    get_baggage = getattr(sys.modules.get("opentelemetry.baggage"), "get_baggage", None)
    value = None if get_baggage is None else get_baggage(BAGGAGE_KEY)
    return None if value is None else str(value)  # OpenTelemetry sends the text of any object
