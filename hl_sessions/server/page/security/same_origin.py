"""Keeps foreign pages from making a browser change anything here."""

from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hl_sessions.server.http.origins import is_same_origin

_CHANGES_NOTHING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class SameOriginMiddleware:
    """Answers 403 to what would change something and was not sent by a page of this server.

    Args:
        app: The ASGI application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or refuse it."""
        if (
            scope["type"] != "http"
            or scope["method"] in _CHANGES_NOTHING
            or _is_from_here(Headers(scope=scope))
        ):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse("Only the page itself may send this.", 403)(scope, receive, send)


def _is_from_here(headers: Headers) -> bool:
    # Every browser says in "Origin" where a form or a script was, and newer ones in "Sec-Fetch-Site" too.
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    return (
        site in {None, "same-origin"}
        and origin is not None
        and is_same_origin(origin, headers.get("host", ""))
    )
