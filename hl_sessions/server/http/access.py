"""Decides which calls are let in: those with a key or, while there is no key, those of this machine."""

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from hl_sessions.server.http.exchange import exchange_of
from hl_sessions.server.http.health import LIVENESS
from hl_sessions.server.http.key_ring import KeyHolder, KeyRing
from hl_sessions.server.http.origins import is_from_own_page, is_loopback
from hl_sessions.server.http.rejections import rejection

BASE_PATH: Final = "/v4"
"""The path where the API begins."""

_ORGANISATION: Final = "organisation_id"

_HEADERS_OF_PROXIES: Final = frozenset({b"forwarded", b"via", b"x-real-ip"})
"""The headers that a proxy adds to a call, beside those that begin with ``X-Forwarded-``."""


class AccessMiddleware:
    """Lets calls in, and notes the organisation of each: see ``organisation_of``.

    If there are keys, calls of the API must carry one in the header ``X-API-KEY``, else they are answered
    401. Requests outside the API are passed on. While there is no key, ``LoopbackOnlyMiddleware`` decides.

    Args:
        app: The ASGI application.
        keys: The valid keys.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self._app = app
        self._app_without_keys = LoopbackOnlyMiddleware(app)
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Whether this process is alive does not depend on the database.
        if scope["path"] != LIVENESS and not self._keys.is_fresh():
            await self._keys.refresh()
        if self._keys.is_open():
            _let_in(scope, self._keys.default_organisation_id)
            await self._app_without_keys(scope, receive, send)
            return
        if f"{scope['path']}/".startswith(f"{BASE_PATH}/"):
            holder = self._holder(scope)
            if holder is None:
                await rejection(401, "The API key is missing or wrong")(scope, receive, send)
                return
            _let_in(scope, holder.organisation_id)
            exchange_of(scope).key = holder
        await self._app(scope, receive, send)

    def _holder(self, scope: Scope) -> KeyHolder | None:
        given = (_header(scope, b"x-api-key") or b"").decode("latin-1")
        # The caller may put one word before the key, such as "Bearer".
        return self._keys.holder_of(given) or self._keys.holder_of(given.partition(" ")[2].strip())


class LoopbackOnlyMiddleware:
    """Answers 403 to calls of proxies, and to calls that a foreign web page could make a browser send.

    A page can reach a loopback address under a name of its own ("DNS rebinding": the header ``Host`` shows
    the name). It can also send a form or a simple request across origins (the header ``Origin`` shows the
    page). A proxy calls from this machine for the whole world, by default with ``Host: 127.0.0.1``.

    Args:
        app: The ASGI application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or refuse it."""
        problem = _foreign_origin(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await rejection(403, f"Without an API key, only this machine may call: {problem}")(
                scope, receive, send
            )


def organisation_of(connection: HTTPConnection) -> int:
    """Return the ID of the organisation whose key let a call of the API in."""
    organisation_id: int = connection.scope["state"][_ORGANISATION]
    return organisation_id


def _let_in(scope: Scope, organisation_id: int) -> None:
    scope.setdefault("state", {})[_ORGANISATION] = organisation_id


def _foreign_origin(scope: Scope) -> str | None:
    """Return the reason why a call may come from elsewhere, or ``None``."""
    host = None
    has_origin = False
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"origin":
            has_origin = True
        elif name in _HEADERS_OF_PROXIES or name.startswith(b"x-forwarded-"):
            return (
                f"this call has the header {name.decode('latin-1')!r}, so a proxy may have passed it on. "
                "To serve behind a proxy, make a key with: hl-sessions keys create"
            )
    # Every browser sends a Host. A call by HTTP/1.0 need not; a call by HTTP/1.1 without one is refused
    # earlier.
    if host is not None and not is_loopback(_name_in(host)):
        return "the header 'host' names another machine"
    if has_origin and not is_from_own_page(Headers(scope=scope)):
        return "the header 'origin' names a foreign page"
    return None


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)


@lru_cache(maxsize=256)
def _name_in(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
