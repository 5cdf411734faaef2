"""Completions for the field for filters."""

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hl_sessions.server.finding.filters import MAX_FILTER
from hl_sessions.server.http.reading import read_for
from hl_sessions.server.page.queries.completions import complete


async def give_completions(request: Request) -> Response:
    """Answer the end of a filter, and what may stand in its place, as JSON."""
    filter_text = request.query_params.get("q", "")[:MAX_FILTER]
    return JSONResponse(asdict(await read_for(request, complete, filter_text)))
