"""Undoes the changes that proxies make to requests: to addresses, paths, and the caller's address.

To the application, all its paths begin with ``/``. This layer sees a request before any other. Links to this
server begin with ``prefix_of``.
"""

import os
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from hl_sessions.server.http.access import BASE_PATH

_STATE: Final = "prefix"

_TRUSTED: Final = "FORWARDED_ALLOW_IPS"
"""The variable with the addresses of trusted proxies; the name is uvicorn's."""

_THIS_MACHINE: Final = "127.0.0.0/8,::1"

# Only these characters, because the prefix stands in links, in a header and in a cookie.
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")

_ABSOLUTE: Final = re.compile(rb"https?://([^/@]+)(/.*)?", re.IGNORECASE)


class PlacementMiddleware:
    """Restores each request to what the caller sent, before any proxy changed it; the outermost layer.

    Trusted proxies name the caller and the scheme in ``X-Forwarded-For`` and ``X-Forwarded-Proto``. If the
    server is below a path, its prefix, some proxies strip the prefix and others pass it on: both work. The
    target of a request may be a whole URL, as for a proxy; then its host counts (RFC 9112, 3.2.2).

    Args:
        app: The ASGI application.
        prefix: The path that the server is below, such as ``/sessions``. When it is empty, trusted proxies
            may name one in ``X-Forwarded-Prefix``.
        routes: The routes of the application.
    """

    def __init__(self, app: ASGIApp, prefix: str, routes: Iterable[BaseRoute]) -> None:
        trusted = os.environ.get(_TRUSTED, _THIS_MACHINE)
        self._app = app
        self._app_behind_proxy: Any = ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type]
        self._trusted = self._app_behind_proxy.trusted_hosts
        self._prefix = prefix
        self._routes = list(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._place(scope)
        # Requests without such headers skip the check of trusted proxies, which takes longer.
        is_of_proxy = any(name.startswith(b"x-forwarded-") for name, _value in scope["headers"])
        await (self._app_behind_proxy if is_of_proxy else self._app)(scope, receive, send)

    def _place(self, scope: Scope) -> None:
        peer, port = scope["client"] or ("", 0)
        if "." in peer:
            # On a dual-stack socket, an IPv4 address arrives as an IPv6 address.
            peer = peer.removeprefix("::ffff:")
            scope["client"] = (peer, port)
        prefix = self._prefix or self._named_by_proxy(scope, peer)
        scope.setdefault("state", {})[_STATE] = prefix
        if not scope["path"].startswith("/"):
            _take_host_from_target(scope)
        if prefix:
            scope["path"] = self._without(prefix, scope["path"])

    def _named_by_proxy(self, scope: Scope, peer: str) -> str:
        named = next((value for name, value in scope["headers"] if name == b"x-forwarded-prefix"), None)
        # Almost no request has the header, so the slower check of the proxy comes second.
        if named is None or peer not in self._trusted:
            return ""
        try:
            return parse_prefix(named.decode("latin-1"))
        except ValueError:
            # A proxy that does not set the header passes on any value of a client.
            return ""

    def _without(self, prefix: str, path: str) -> str:
        if path == prefix:
            return path if _is_served(self._routes, path) else "/"
        rest = path.removeprefix(prefix)
        # If the proxy strips the prefix "/sessions", a path may still begin with it ("/sessions/sesh_..."),
        # so the routes decide.
        was_passed_on = path.startswith(f"{prefix}/") and _is_served(self._routes, rest)
        return rest if was_passed_on else path


def prefix_of(scope: Scope) -> str:
    """Return the path that callers put before the paths of this server, or ``""``."""
    prefix: str = scope["state"][_STATE]
    return prefix


def parse_prefix(text: str) -> str:
    """Return a path without its trailing slash, such as ``/sessions``; ``""`` for the root.

    Raises:
        ValueError: When the server cannot be below that path.
    """
    prefix = text.rstrip("/")
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("begins with '/', and its parts have letters, digits and characters of '._~-' only")
    if f"{prefix}/".startswith(f"{BASE_PATH}/"):
        raise ValueError(f"cannot begin with {BASE_PATH!r}, where the API does")
    return prefix


def _take_host_from_target(scope: Scope) -> None:
    target = _ABSOLUTE.fullmatch(scope["raw_path"])
    if target is None:
        return
    scope["raw_path"] = target[2] or b"/"
    scope["path"] = unquote(scope["raw_path"].decode("ascii"))
    others = [header for header in scope["headers"] if header[0] != b"host"]
    scope["headers"] = [(b"host", target[1]), *others]


def _is_served(routes: Iterable[BaseRoute], path: str) -> bool:
    for route in routes:
        match = route.path_regex.match(path) if isinstance(route, (Mount, Route)) else None
        inner = route.routes if isinstance(route, Mount) else []
        if match and (not inner or _is_served(inner, f"/{match['path']}")):
            return True
    return False
