"""Keeps foreign pages from making a browser change anything here."""

from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from hl_sessions.server.http.access import BASE_PATH
from hl_sessions.server.http.origins import is_from_own_page
from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.http.rejections import rejection

_CHANGES_NOTHING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_REFUSAL: Final = (
    "Only the page itself may send this. If it did, a proxy has changed the header Host: "
    "it has to pass on the name and the port that the browser uses."
)


class SameOriginMiddleware:
    """Answers 403 to requests that change something and were not sent by a page of this server.

    Where the page has nothing to change, the answer is 404: it is a call of the API with a wrong base URL.

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
            or is_from_own_page(Headers(scope=scope))
        ):
            await self._app(scope, receive, send)
        else:
            await _refusal(scope)(scope, receive, send)


def _refusal(scope: Scope) -> Response:
    if any(route.matches(scope)[0] is Match.FULL for route in scope["app"].routes):
        return PlainTextResponse(_REFUSAL, 403)
    return rejection(404, f"There is no such call here: the API begins at {prefix_of(scope)}{BASE_PATH}")
