"""What the middlewares of ASGI and WSGI have in common: their options, and the headers that they add."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

import hl_sessions.client.transport  # noqa: F401 - loaded here, so that no request waits for it
from hl_sessions.defaults import check_environment, default_manager
from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations.cookies import BrowserSession, SignedCookie
from hl_sessions.integrations.incoming import Incoming
from hl_sessions.manager import SessionManager, checked_manager
from hl_sessions.process.checks import checked_header_name
from hl_sessions.process.once import Once
from hl_sessions.process.saying import say

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

    from hl_sessions.integrations.gateway import Request
    from hl_sessions.integrations.incoming import Key, Trust
    from hl_sessions.sessions.session import Session

__all__ = ["MiddlewareBase", "missing_headers"]

_SET_COOKIE = "Set-Cookie"

_once = Once()


class MiddlewareBase:
    """What both middlewares are: the application, and options that are checked.

    Args:
        app: the application.
        manager: opens the sessions; ``None``: the one of :func:`hl_sessions.configure`.
        key: where the conversation key of a request is: ``header(...)``, ``path_param(...)``, ``query(...)``,
            ``json_field(...)``, ``baggage(...)``, the ``first(...)`` of several that has one, or a function
            of the request that returns it, called at the first read; ``None``: each request has a session
            of its own. The request is that of the framework: the ASGI scope, the WSGI environment, or the
            request object of Starlette or Flask.
        cookie: carries the conversation of a browser, instead of ``key``.
        response_header: the name of a header that tells the client the session ID, if there is one when
            the response starts or the WebSocket is accepted; ``None``: no header.
        trust: whose session IDs in the headers ``baggage`` or ``X-Session-ID`` are joined: networks of direct
            peers, a :class:`~hl_sessions.carrying.SharedSecret`, or a function of the request; ``None``:
            nobody's. A request with a forwarding header comes from no direct peer.
        via_proxies: networks of reverse proxies, beside networks in ``trust``: of a request that comes from
            one, the peer is the last hop in ``X-Forwarded-For``, which that proxy has added.

    Raises:
        ConfigurationError: an option is wrong, ``key`` and ``cookie`` were both given, or the environment
            holds a wrong setting, where neither a ``manager`` nor :func:`hl_sessions.configure` replaces it.
    """

    #: Whether the server tells of its start-up: then the environment is checked there, and not here.
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
        """Return the manager of a request, ``None`` where the environment holds a wrong setting."""
        if self._manager is not None:
            return self._manager
        try:
            return default_manager()
        except ConfigurationError as error:
            if _once.is_first():
                say(logging.WARNING, "requests have no session: %s (said once per process)", error)
            return None

    def _native_request(self, scope: MutableMapping[str, Any]) -> Any:
        """Return the request object that functions of the user are given."""
        return scope

    def _headers_of(self, session: Session) -> list[tuple[str, str]]:
        """Return the headers that tell the client of a session, as far as it is used."""
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
    """Return those of the ``wanted`` headers that a response lacks, which has those that are ``present``."""
    there = {(name.lower(), value) for name, value in present}
    # Cookies stand beside one another; of any other header there is one.
    names = {name for name, _ in there} - {_SET_COOKIE.lower()}
    return [
        (name, value)
        for name, value in wanted
        if name.lower() not in names and (name.lower(), value) not in there
    ]
