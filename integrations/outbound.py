"""Which calls to other services carry the session, and how."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from hl_sessions.carrying import SharedSecret
from hl_sessions.carrying.headers import BAGGAGE_HEADER, BAGGAGE_KEY, PLAIN_HEADER, baggage_keys, encoded
from hl_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Carrier", "Outbound", "OutboundHeader"]

Carrier = Literal["baggage", "header"]

_HEADERS = {"baggage": BAGGAGE_HEADER, "header": PLAIN_HEADER}
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_.-]+)(?::(?P<port>[0-9]{1,5}))?")
MAX_PORT = 65535
_DEFAULT_PORTS = {"http": 80, "https": 443}


class OutboundHeader:
    """The header, or the metadata of a call, that carries the session.

    Args:
        carrier: ``"baggage"``: as a member of the W3C ``baggage`` header, merged with one of your own;
            ``"header"``: as ``X-Session-ID``.
        secret: signs the ID, for services that have the same secret; ``None``: no signature.

    Raises:
        ConfigurationError: one of them is wrong.
    """

    def __init__(self, carrier: Carrier, secret: SharedSecret | None) -> None:
        if carrier not in ("baggage", "header"):  # a tuple: what is given may not be hashable
            raise ConfigurationError(f"carrier={carrier!r} must be 'baggage' or 'header'")
        if secret is not None and not isinstance(secret, SharedSecret):
            raise ConfigurationError(
                f"secret must be a SharedSecret, not {type(secret).__name__} (value not shown):"
                " hl_sessions.carrying.SharedSecret('...')"
            )
        self._secret = secret
        #: The name of the header that carries the session.
        self.header = _HEADERS[carrier]

    def has_session(self, own: str | None) -> bool:
        """Whether :attr:`header`, as it is without us, names a session already, which is left as it is."""
        if own is None or self.header == PLAIN_HEADER:
            return own is not None
        return BAGGAGE_KEY in baggage_keys(own)

    def with_session(self, own: str | None, session_id: str) -> str:
        """Return :attr:`header` with the session added to what it is without us."""
        value = encoded(session_id, None if self._secret is None else self._secret.sign(session_id))
        if self.header == PLAIN_HEADER:
            return value
        others = f"{own}," if own and not own.isspace() else ""
        return f"{others}{BAGGAGE_KEY}={value}"


class Outbound(OutboundHeader):
    """The calls that carry the session.

    Args:
        hosts: the names of the hosts whose calls carry the session, each with an optional port:
            ``"retrieval.internal"``, ``"localhost:9000"``; without one, all ports.
        carrier: as ``secret``, see :class:`OutboundHeader`.
        secret: signs the ID.

    Raises:
        ConfigurationError: one of them is wrong.
    """

    def __init__(self, hosts: Collection[str], carrier: Carrier, secret: SharedSecret | None) -> None:
        super().__init__(carrier, secret)
        self._hosts = _checked_hosts(hosts)

    def covers(self, scheme: str, host: str | None, port: int | None) -> bool:
        """Whether calls to this host, on this port or the default one of the scheme, carry the session."""
        if not host:
            return False
        host = host.lower().removesuffix(".")
        return (host, None) in self._hosts or (host, port or _DEFAULT_PORTS.get(scheme)) in self._hosts


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
    match = _HOST.fullmatch(host) if isinstance(host, str) else None
    port = None if match is None or match["port"] is None else int(match["port"])
    if match is None or not (port is None or 0 < port <= MAX_PORT):
        # What has an @ may be a URL with a password.
        shown = f" {host!r}" if "@" not in repr(host) else " a URL (not shown)"
        raise ConfigurationError(f"hosts has{shown}, which is not the name of a host; {hint}")
    return match["name"].strip("[]").lower().removesuffix("."), port
