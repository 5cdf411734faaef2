"""What a request says of the session that it belongs to, the same for ASGI and WSGI."""

from __future__ import annotations

import inspect
import logging
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from hl_sessions.carrying import SharedSecret
from hl_sessions.carrying.headers import BAGGAGE_HEADER, PLAIN_HEADER, session_ids
from hl_sessions.conversations.key import checked_key
from hl_sessions.conversations.session import ConversationSession, RequestSession
from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations.cookies import BrowserSession, SignedCookie
from hl_sessions.integrations.keys import RequestKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hl_sessions.integrations.gateway import Request
    from hl_sessions.manager import SessionManager
    from hl_sessions.sessions.session import Session

    Key = RequestKey | Callable[[Any], object]
    Trust = SharedSecret | Sequence[str] | Callable[[Any], object]

__all__ = ["Incoming", "incoming"]

_FORWARDED_FOR = "X-Forwarded-For"
_FORWARDING_HEADERS = (_FORWARDED_FOR, "Forwarded", "X-Real-IP")

logger = logging.getLogger("hl_sessions")


class Incoming:
    """Opens the session that a request belongs to: one it brings along, that of a conversation, or its own.

    Args:
        key: finds the conversation key.
        cookie: carries the conversation key of a browser.
        trust: whose session IDs are believed.
        via_proxies: whose ``X-Forwarded-For`` is believed.

    Raises:
        ConfigurationError: a setting is wrong, or ``key`` and ``cookie`` were both given.
    """

    def __init__(
        self,
        key: Key | None,
        cookie: SignedCookie | None,
        trust: Trust | None,
        via_proxies: Sequence[str] | None = None,
    ) -> None:
        if key is not None and cookie is not None:
            raise ConfigurationError("key and cookie exclude each other: a request has one conversation")
        if cookie is not None and not isinstance(cookie, SignedCookie):
            raise ConfigurationError(f"cookie must be a SignedCookie, not {type(cookie).__name__}")
        if key is not None and not isinstance(key, RequestKey):
            _check_function("key", key, "json_field(...) reads a body")
        self._key = key
        self._cookie = cookie
        if via_proxies is not None and not isinstance(trust, (list, tuple)):
            raise ConfigurationError("via_proxies goes with networks in trust: it says which peer to look at")
        self._trusts = None if trust is None else _trust(trust, via_proxies or ())
        self._failed: set[str] = set()
        #: How many bytes of a JSON body the key needs at the most, 0 if it needs none.
        self.max_body = key.max_body if isinstance(key, RequestKey) else 0
        #: Whether the key is only known once the application has found the route.
        self.needs_route = isinstance(key, RequestKey) and key.needs_route

    def session(self, manager: SessionManager, request: Request) -> Session:
        """Give the session of a request; touches neither the network nor the store."""
        session_id = None if self._trusts is None else self._brought_along(request)
        if session_id is not None:
            joined = ConversationSession(manager, None)  # a middleware inside decides nothing any more
            joined._keep(session_id)
            return joined
        if self._cookie is not None:
            return BrowserSession(
                manager, self._cookie, request.headers("Cookie"), is_secure=request.is_secure
            )
        if self._key is not None:
            return RequestSession(manager, lambda: self._conversation_key(request))
        return manager.new_session()

    def _brought_along(self, request: Request) -> str | None:
        named = session_ids(request.headers(BAGGAGE_HEADER), request.headers(PLAIN_HEADER))
        if named is None or self._trusts is None:
            return None
        session_id, signature = named
        try:
            return session_id if _plain(self._trusts(request, session_id, signature)) else None
        except Exception as error:  # noqa: BLE001 - the user's function must not break the request
            self._warn("trust", self._trusts, error)
            return None

    def _conversation_key(self, request: Request) -> str | None:
        key = self._key
        if key is None:
            return None
        try:
            if isinstance(key, RequestKey):
                return key.find(request)
            value = _plain(key(request.native))
            return None if value is None else checked_key(value, "what it gives")
        except Exception as error:  # noqa: BLE001 - as above
            self._warn("key", key, error)
            return None

    def _warn(self, option: str, function: object, error: Exception) -> None:
        if option in self._failed:
            return
        self._failed.add(option)
        # Not what it says: that may be personal.
        logger.warning(
            "the %s callable %s failed with a %s, its requests go on without (said once)",
            option,
            _name(function),
            type(error).__name__,
        )


def incoming(
    key: Key | None, cookie: SignedCookie | None, trust: Trust | None, via_proxies: Sequence[str] | None
) -> Incoming | None:
    """Return what opens the sessions of requests, ``None`` if each has one of its own.

    Raises:
        ConfigurationError: as for :class:`Incoming`.
    """
    if key is None and cookie is None and trust is None and via_proxies is None:
        return None
    return Incoming(key, cookie, trust, via_proxies)


def _check_function(name: str, value: object, way_out: str) -> None:
    if not callable(value):
        raise ConfigurationError(f"{name} must be callable, not {type(value).__name__}")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(
        getattr(value, "__call__", None)  # noqa: B004 - it is looked at, not tested for
    ):
        raise ConfigurationError(
            f"{name} must be a plain function, as the ID may be read anywhere; {way_out}"
        )


def _trust(trust: Trust, via_proxies: Sequence[str]) -> Callable[[Request, str, str | None], object]:
    if isinstance(trust, SharedSecret):
        secret = trust
        return lambda _, session_id, signature: signature is not None and secret.verify(session_id, signature)
    if isinstance(trust, (list, tuple)):
        networks = [_network("trust", each) for each in trust]
        if not networks:
            raise ConfigurationError("trust=[] trusts nobody; leave it out (None)")
        if isinstance(via_proxies, str):
            raise ConfigurationError("via_proxies must be a list of networks, not a str")
        proxies = [_network("via_proxies", each) for each in via_proxies]
        return lambda request, *_: _is_in(_peer(request, proxies), networks)
    if isinstance(trust, str):
        raise ConfigurationError(
            "trust must be a list of networks, a SharedSecret or a callable, not a str (value not shown)"
        )
    _check_function("trust", trust, "give networks or a SharedSecret otherwise")
    predicate: Any = trust

    def trusts(request: Request, _session_id: str, _signature: str | None) -> object:
        return predicate(request.native)

    trusts.__qualname__ = _name(predicate)
    return trusts


def _plain(value: Any) -> Any:
    """Refuse what an asynchronous function gives: it is always true, and nobody awaits it."""
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError("it is awaitable")
    return value


def _name(function: Any) -> str:
    function = getattr(function, "func", function)  # of a functools.partial
    return getattr(function, "__qualname__", None) or repr(function)


def _peer(request: Request, proxies: list[IPv4Network | IPv6Network]) -> str:
    """Return the address of the direct peer, or what a proxy says of it; empty if nobody can tell.

    A server may have put what the request says of its origin in place of the peer, as uvicorn does by default
    for peers on the same machine. So a forwarding header takes the peer away, whoever has sent it.
    """
    if not any(request.headers(name) for name in _FORWARDING_HEADERS):
        return request.peer
    if not _is_in(request.peer, proxies):
        return ""
    return ",".join(request.headers(_FORWARDED_FOR)).rpartition(",")[2].strip()


def _network(name: str, text: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(text))
    except ValueError as error:
        raise ConfigurationError(
            f"{name}: {error}; give networks like '10.0.0.0/8' or addresses like '::1'"
        ) from None


def _is_in(peer: str, networks: list[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return any(address in network for network in networks)
