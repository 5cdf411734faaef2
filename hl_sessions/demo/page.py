"""The page of the demo: its files, and what browsers are told about everything that is served."""

from pathlib import Path
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STATIC: Final = Path(__file__).with_name("static")

_HEADERS: Final = {
    # Scripts, styles and data from this origin only, nothing inline; the icon is in the page.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> list[BaseRoute]:
    """Give the routes of the page and its files."""
    return [Route("/", _page), Mount("/static", StaticFiles(directory=_STATIC))]


async def _page(_request: Request) -> Response:
    return FileResponse(_STATIC / "index.html")


class SecurityHeadersMiddleware:
    """Adds the headers that keep foreign content and foreign frames out.

    Args:
        app: The ASGI application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and add to the head of the response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)
