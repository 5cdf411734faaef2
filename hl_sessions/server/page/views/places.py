"""Results for the dialog to jump."""

from starlette.requests import Request
from starlette.responses import Response

from hl_sessions.server.finding.filters import read_search
from hl_sessions.server.http.reading import read_for
from hl_sessions.server.page.queries.places import find_places
from hl_sessions.server.page.show.rendering import render


async def show_places(request: Request) -> Response:
    """Answer the places that match a text, as HTML for the dialog."""
    text = read_search(request.query_params) or ""
    return await render(request, "places.html", places=await read_for(request, find_places, text))
