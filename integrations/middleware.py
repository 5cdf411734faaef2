"""The common base of the middlewares: their options, and the headers that they add."""

from __future__ import annotations

from inspect import CO_VARARGS, getattr_static
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Final

import hl_sessions.client.transport  # noqa: F401 - loaded here, so that no request waits for it
from hl_sessions.defaults import check_environment, usable_manager
from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations.cookies import BrowserSession, SignedCookie
from hl_sessions.integrations.incoming import Incoming
from hl_sessions.manager import SessionManager, checked_manager
from hl_sessions.process.checks import checked_header_name

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

    from hl_sessions.integrations.gateway import Request
    from hl_sessions.integrations.incoming import Key, Trust
    from hl_sessions.sessions.session import Session

__all__ = ["MiddlewareBase", "missing_headers"]

_SET_COOKIE = "Set-Cookie"
#: With how many arguments a server of each gateway calls an application.
_ARGUMENTS: Final = {"asgi": 3, "wsgi": 2}


class MiddlewareBase:
    """The base of the middlewares: an application, and options that are checked.

    Args:
        app: the application.
        manager: opens the sessions. ``None``: the one of :func:`hl_sessions.configure`.
        key: the place of the conversation key in a request: ``header(...)``, ``path_param(...)``,
            ``query(...)``, ``json_field(...)``, ``baggage(...)``, or ``first(...)`` of several. Or a function
            that returns the key of a request, called at the first read of the ID. Its argument is the request
            of the framework: the ASGI scope, the WSGI environment, or the request object of Starlette or
            Flask. ``None``: each request has its own session.
        cookie: carries the conversation of a browser; excludes ``key``.
        response_header: the name of a response header for the session ID. It is sent if the session has an ID
            when the response starts or the WebSocket is accepted. ``None``: no header.
        trust: the callers whose session IDs, in the headers ``baggage`` or ``X-Session-ID``, are joined:
            networks of direct peers, a :class:`~hl_sessions.carrying.SharedSecret`, or a function of the
            request. ``None``: no caller. A request with a forwarding header has no direct peer.
        via_proxies: networks of reverse proxies, for networks in ``trust``. If a request comes from one of
            them, its peer is the last hop in ``X-Forwarded-For``, which that proxy has added.

    Raises:
        ConfigurationError: an option is wrong; ``key`` and ``cookie`` are both given; the application is one
            of another gateway; or the environment holds a wrong setting, and neither ``manager`` nor
            :func:`hl_sessions.configure` replaces it.
    """

    #: The gateway of the applications, ``None`` if a framework calls the middleware.
    _gateway: ClassVar[str | None] = None
    #: Whether the server announces its start-up: then the environment is checked there, not here.
    _has_start_up: ClassVar[bool] = False
    _request_type: ClassVar[type[Request]]

    def __init__(
        self,
        app: Any,
        manager: SessionManager | None = None,
        *,
        key: Key | None = None,
        cookie: SignedCookie | None = None,
        response_header: str | None = None,
        trust: Trust | None = None,
        via_proxies: Sequence[str] | None = None,
    ) -> None:
        if self._gateway is not None:
            _check_gateway(app, self._gateway)
        self.app = app
        self._manager = checked_manager(manager)
        self._response_header = (
            None if response_header is None else checked_header_name("response_header", response_header)
        )
        self._adds_headers = response_header is not None or cookie is not None
        self._incoming: Incoming | None = None  # each request has a session of its own
        if not (key is None and cookie is None and trust is None and via_proxies is None):
            self._incoming = Incoming(
                self._request_type,
                self._native_request,
                key=key,
                cookie=cookie,
                trust=trust,
                via_proxies=via_proxies,
            )
        if manager is None and not self._has_start_up:
            check_environment()

    def _find_manager(self) -> SessionManager | None:
        """Return the manager of a request, ``None`` if the environment holds a wrong setting."""
        return self._manager or usable_manager("requests have no session")

    def _native_request(self, scope: MutableMapping[str, Any]) -> Any:
        """Return the request object that is passed to functions of the user."""
        return scope

    def _headers_of(self, session: Session) -> list[tuple[str, str]]:
        """Return the headers that tell the client of a session, if the session is used."""
        headers = []
        if self._response_header is not None:
            session_id = session.peek()
            if session_id is not None:
                headers.append((self._response_header, session_id))
        if isinstance(session, BrowserSession) and session.is_new:
            cookie = session.set_cookie()
            if cookie is not None:
                headers.append((_SET_COOKIE, cookie))
        return headers


def missing_headers(
    wanted: Iterable[tuple[str, str]], present: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the ``wanted`` headers that are missing in a response with the ``present`` ones."""
    there = {(name.lower(), value) for name, value in present}
    # A response can have several cookies, but only one of any other header.
    names = {name for name, _ in there} - {_SET_COOKIE.lower()}
    return [
        (name, value)
        for name, value in wanted
        if name.lower() not in names and (name.lower(), value) not in there
    ]


def _check_gateway(app: Any, gateway: str) -> None:
    """Refuse an application that certainly is one of another gateway."""
    for other, count in _ARGUMENTS.items():
        if _takes(app, count) and _takes(app, _ARGUMENTS[gateway]) is False:
            raise ConfigurationError(
                f"app is an application of {other.upper()}: its middleware is HLSessionMiddleware of"
                f" hl_sessions.integrations.{other}, not of .{gateway}"
            )


def _takes(app: Any, count: int) -> bool | None:
    """Whether an application can be called with so many arguments; ``None``: that is not certain."""
    function, first = app, 0
    if type(app) is MethodType:
        function, first = app.__func__, 1
    elif type(app) is not FunctionType:
        function, first = getattr_static(type(app), "__call__", None), 1
    if type(function) is not FunctionType:
        return None
    # Not by its signature, which a decorator may have taken from another function.
    most = function.__code__.co_argcount - first
    least = most - len(function.__defaults__ or ())
    return least <= count and (count <= most or bool(function.__code__.co_flags & CO_VARARGS))
