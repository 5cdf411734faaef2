"""Who may call the API: the holders of the key, or, without a key, this machine and no foreign web page."""

import hmac
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from hl_sessions.server.loopback import is_loopback
from hl_sessions.server.rejections import rejection

BASE_PATH: Final = "/v4"
"""Where the API begins."""


class APIKeyMiddleware:
    """Answers 401 to calls of the API that do not carry the key in the header ``X-API-KEY``.

    Args:
        app: The ASGI application.
        api_key: The key, printable ASCII. A caller may put one word before it, such as ``Bearer``.
    """

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._api_key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or refuse it."""
        if scope["type"] == "http" and self._is_refused(scope):
            await rejection(401, "The API key is missing or wrong")(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_refused(self, scope: Scope) -> bool:
        if not f"{scope['path']}/".startswith(f"{BASE_PATH}/"):
            return False
        given = _header(scope, b"x-api-key") or b""
        without_prefix = given.partition(b" ")[2].strip()
        # Not "or": how long the comparison takes tells nothing about the key.
        return not (
            hmac.compare_digest(given, self._api_key) | hmac.compare_digest(without_prefix, self._api_key)
        )


class LoopbackOnlyMiddleware:
    """Answers 403 to what a foreign web page could make a browser send to this machine.

    A page can reach a loopback address under a name of its own ("DNS rebinding": the header ``Host`` shows
    the name), or send a form or a simple request across origins (the header ``Origin`` shows the page).

    Args:
        app: The ASGI application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or refuse it."""
        if scope["type"] == "http" and self._is_foreign(scope):
            await rejection(403, "Without an API key, only this machine may call")(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        host = _host_name(b"//" + (_header(scope, b"host") or b""))
        if not is_loopback(host):
            return True
        origin = _header(scope, b"origin")
        return origin is not None and _host_name(origin) != host


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)


def _host_name(url: bytes) -> str:
    try:
        return urlsplit(url.decode("latin-1")).hostname or ""
    except ValueError:
        return ""
