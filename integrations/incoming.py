"""The session of an incoming request: from its key, its cookie or a trusted ID, alike for ASGI and WSGI."""

from __future__ import annotations

import inspect
import logging
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from time import monotonic
from typing import TYPE_CHECKING, Any

from hl_sessions.carrying import SharedSecret
from hl_sessions.carrying.headers import BAGGAGE_HEADER, PLAIN_HEADER, SIGNATURE_HEADER, named_session_id
from hl_sessions.conversations.key import checked_key
from hl_sessions.conversations.session import RequestSession, request_session_type
from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations import keys
from hl_sessions.integrations.cookies import BrowserSession, SignedCookie
from hl_sessions.integrations.keys import RequestKey
from hl_sessions.process.saying import say
from hl_sessions.sessions.binding import unbound

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence

    from hl_sessions.integrations.gateway import Request
    from hl_sessions.manager import SessionManager
    from hl_sessions.sessions.session import Session

    Key = RequestKey | Callable[[Any], object]
    Trust = SharedSecret | Sequence[str] | Callable[[Any], object]

__all__ = ["Incoming"]

_FORWARDED_FOR = "X-Forwarded-For"
# Headers that proxies write, besides those that begin with X-Forwarded.
_FORWARDING_HEADERS = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-forwarded-for",
        "true-client-ip",
        "cf-connecting-ip",
        "fastly-client-ip",
    }
)


class Incoming:
    """Opens the session of a request: the trusted one that it names, that of its conversation, or a new one.

    The key, the cookie and a signed ID are looked up at the first read, as most sessions are never read. The
    networks and functions in ``trust`` are checked at once, as the peer in the scope may change later. A
    coroutine function is awaited before the application runs, as the first read may be unable to await.

    Args:
        request_type: wraps the scope or environment of a request.
        make_native: makes the request object of the framework from it.
        key: finds the conversation key.
        cookie: carries the conversation key of a browser.
        trust: the callers whose session IDs are trusted.
        via_proxies: the proxies whose ``X-Forwarded-For`` is trusted.

    Raises:
        ConfigurationError: a setting is wrong, or ``key`` and ``cookie`` are both given.
    """

    def __init__(
        self,
        request_type: type[Request],
        make_native: Callable[[MutableMapping[str, Any]], Any],
        *,
        key: Key | None = None,
        cookie: SignedCookie | None = None,
        trust: Trust | None = None,
        via_proxies: Sequence[str] | None = None,
    ) -> None:
        if key is not None and cookie is not None:
            raise ConfigurationError("key and cookie exclude each other: a request has one conversation")
        if cookie is not None and not isinstance(cookie, SignedCookie):
            raise ConfigurationError(f"cookie must be a SignedCookie, not {type(cookie).__name__}")
        #: Whether :meth:`await_key` has to be awaited before the application runs.
        self.awaits_key = request_type.CAN_AWAIT and _is_async(key)
        if key is not None and not self.awaits_key and not isinstance(key, RequestKey):
            _check_function("key", key, "json_field(...) reads a body")
        self._request_type = request_type
        self._make_native = make_native
        # Unbound: the server may have left the session of another request in the context.
        self._key: Any = unbound(key) if self.awaits_key else key
        self._cookie = cookie
        #: The key of the scheme in the scope, if the scheme is needed.
        self.scheme = None if cookie is None else request_type.SCHEME
        if via_proxies is not None and not isinstance(trust, (list, tuple)):
            raise ConfigurationError("via_proxies goes with networks in trust: it says which peer to check")
        self._secret = trust if isinstance(trust, SharedSecret) else None
        self._trusts = None if trust is None or self._secret else _trust(trust, via_proxies or ())
        #: Whether the first read needs more of the scope than the headers.
        self.needs_scope = key is not None and not self.awaits_key
        names = ["Cookie"] if cookie else []
        if self._secret is not None:
            names += BAGGAGE_HEADER, PLAIN_HEADER, SIGNATURE_HEADER, "Host"
        #: The names, in the gateway's form, of the headers that the first read needs.
        self.fields = tuple(request_type.field(name) for name in names)
        self.has_conversations = key is not None or cookie is not None
        self.looks_for_ids = self._secret is not None
        self._failed: set[str] = set()
        self._last_type: tuple[SessionManager | None, Any] = None, None
        #: A manager and the function that makes its sessions, if a session needs no check and no body. The
        #: middleware then calls it directly, as :meth:`session` takes as long as all other steps together.
        self.shortcut: tuple[SessionManager | None, Any] = None, None
        #: The longest JSON body that the key needs, in bytes; 0: it needs no body.
        self.max_body = key.max_body if isinstance(key, RequestKey) else 0
        #: Whether the key is known only after the application has found the route.
        self.needs_route = isinstance(key, RequestKey) and key.needs_route

    def session(self, manager: SessionManager, scope: MutableMapping[str, Any], body: bytes = b"") -> Session:
        """Return the session of a request; touches neither the network nor the store.

        Args:
            manager: its manager.
            scope: the ASGI scope or WSGI environment of the request.
            body: its body, if the key needs it.
        """
        trusted_id = None
        if self._trusts is not None:
            trusted_id = self._trusted_id(self._request_type(scope, self._make_native))
            if trusted_id is None and not self.has_conversations:
                return manager.new_session()
        session = self._session_type(manager)()
        session._scope = scope if self.needs_scope else self._request_type.headers_in(scope, self.fields)
        session._entered = monotonic()
        if body:
            session._body = body
        if self.scheme is not None:
            session._scheme = scope.get(self.scheme)
        if trusted_id is not None:
            session._join(trusted_id)
        return session

    async def await_key(self, session: Session, scope: MutableMapping[str, Any]) -> None:
        """Await the coroutine function ``key``, unless the request has a trusted session ID."""
        if not isinstance(session, RequestSession) or session.peek() is not None:
            return
        try:
            key = await self._key(self._request_type(scope, self._make_native).native)
            session._awaited_key = _checked(key)
        except Exception as error:  # noqa: BLE001 - the user's function must not break the request
            self._warn("key", self._key, error)

    def named_id(self, session: RequestSession, scope: Any) -> str | None:
        """Return the session ID that a request names with a valid signature, ``None`` if there is none."""
        request = self._request_type(scope, self._make_native)
        session_id = _named_id(request)
        signatures = [] if session_id is None else request.headers(SIGNATURE_HEADER)
        if self._secret is None or session_id is None or len(signatures) != 1:
            return None
        waited = monotonic() - session._entered
        if self._secret.verify(session_id, signatures[0].strip(), request.host, waited=waited):
            return session_id
        if "secret" not in self._failed:
            self._failed.add("secret")
            say(
                logging.WARNING,
                "a request names a session, but its X-Session-Signature is not valid, so that is ignored: the"
                " caller has another secret, or has signed for another host or more than five minutes ago"
                " (said once)",
            )
        return None

    def conversation_key(self, session: RequestSession, scope: Any) -> str | None:
        """Return the conversation key of a request, ``None`` if there is none."""
        request = self._request_type(scope, self._make_native, session._body)
        if isinstance(session, BrowserSession):
            return session._cookie.key(request.headers("Cookie")) or session.made_key()
        key = self._key
        if key is None or self.awaits_key:
            return session._awaited_key
        try:
            if isinstance(key, RequestKey):
                return key.find(request)
            return _checked(_plain(key(request.native)))
        except Exception as error:  # noqa: BLE001 - the user's function must not break the request
            self._warn("key", key, error)
            return None

    def _trusted_id(self, request: Request) -> str | None:
        session_id = _named_id(request)
        if session_id is None or self._trusts is None:
            return None
        try:
            return session_id if _plain(self._trusts(request)) else None
        except Exception as error:  # noqa: BLE001 - the user's function must not break the request
            self._warn("trust", self._trusts, error)
            return None

    def _session_type(self, manager: SessionManager) -> Callable[[], RequestSession]:
        of_manager, made = self._last_type
        if of_manager is not manager:
            if self._cookie is None:
                made = request_session_type(RequestSession, manager, self)
            else:
                made = request_session_type(BrowserSession, manager, self, _cookie=self._cookie)
            self._last_type = manager, made
            if self._trusts is None and not self.max_body and not self.awaits_key:
                self.shortcut = self._last_type
        make: Callable[[], RequestSession] = made
        return make

    def _warn(self, option: str, function: object, error: Exception) -> None:
        if option in self._failed:
            return
        self._failed.add(option)
        # Without the text of the error, which may be personal.
        failed = f"failed with a {type(error).__name__}"
        say(
            logging.WARNING,
            "the %s callable %s %s, its requests go on without (said once)",
            option,
            _name(function),
            "returned an awaitable" if isinstance(error, _AwaitableError) else failed,
        )


def _named_id(request: Request) -> str | None:
    baggage, plain = request.headers(BAGGAGE_HEADER), request.headers(PLAIN_HEADER)
    return named_session_id(baggage, plain) if baggage or plain else None


def _check_function(name: str, value: object, way_out: str) -> None:
    if not callable(value):
        hint = ", such as header('X-Chat-ID')" if name == "key" else ""
        raise ConfigurationError(f"{name} must be callable{hint}, not {type(value).__name__}")
    maker = getattr(value, "__name__", "")
    if isinstance(maker, str) and getattr(keys, maker, None) is value:
        raise ConfigurationError(f"{name}={maker} makes keys; call it, such as header('X-Chat-ID')")
    if _is_async(value):
        raise ConfigurationError(
            f"{name} must be a plain function, as the ID may be read anywhere; {way_out}"
        )


def _is_async(value: object) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(
        getattr(value, "__call__", None)  # noqa: B004 - not a test of whether it is callable
    )


def _trust(trust: Any, via_proxies: Sequence[str]) -> Callable[[Request], object]:
    if isinstance(trust, (list, tuple)):
        networks = [_network("trust", each) for each in trust]
        if not networks:
            raise ConfigurationError("trust=[] trusts no caller; leave it out (None)")
        if isinstance(via_proxies, str):
            raise ConfigurationError("via_proxies must be a list of networks, not a str")
        proxies = [_network("via_proxies", each) for each in via_proxies]
        return lambda request: _is_in(_peer(request, proxies), networks)
    if isinstance(trust, str):
        raise ConfigurationError(
            "trust must be a list of networks, a SharedSecret or a callable, not a str (value not shown)"
        )
    _check_function("trust", trust, "give networks or a SharedSecret otherwise")

    def trusts(request: Request) -> object:
        return trust(request.native)

    trusts.__qualname__ = _name(trust)
    return trusts


def _checked(value: object) -> str | None:
    return None if value is None else checked_key(value, "what it gives")


class _AwaitableError(TypeError):
    """A plain function has returned an awaitable, which is always true, and is never awaited."""


def _plain(value: Any) -> Any:
    """Return ``value``, but refuse an awaitable.

    Raises:
        _AwaitableError: ``value`` is awaitable.
    """
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise _AwaitableError
    return value


def _name(function: Any) -> str:
    function = getattr(function, "func", function)  # of a functools.partial
    return getattr(function, "__qualname__", None) or repr(function)


def _peer(request: Request, proxies: list[IPv4Network | IPv6Network]) -> str:
    """Return the address of the direct peer, or the one that a trusted proxy names; empty if unknown.

    A server may replace the peer by the origin that the request claims, as uvicorn does by default for peers
    on the same machine. So with a forwarding header the peer counts as unknown, unless it is a trusted proxy.
    """
    names = request.header_names()
    if not any(name in _FORWARDING_HEADERS or name.startswith("x-forwarded") for name in names):
        return request.peer
    # With a second header that names a client, it is unknown which of the two the proxy has written.
    if not _is_in(request.peer, proxies) or "forwarded" in names:
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
