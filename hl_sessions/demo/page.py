"""The page of the demo: its files, and the files that it shares with the page of the server."""

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

_STATIC: Final = Path(__file__).with_name("static")
_SHARED: Final = ("hl_sessions.server.page", "static")


def page_routes() -> list[BaseRoute]:
    """Return the routes of the page and its files."""
    return [Route("/", _page), Mount("/static", StaticFiles(directory=_STATIC, packages=[_SHARED]))]


async def _page(_request: Request) -> Response:
    return FileResponse(_STATIC / "index.html")
