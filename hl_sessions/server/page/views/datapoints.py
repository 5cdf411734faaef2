"""The addresses of a datapoint: in its session, and as JSON."""

from fastapi import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hl_sessions.server.finding.filters import SessionFilter
from hl_sessions.server.http.parts_response import parts_response
from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.http.reading import read_for
from hl_sessions.server.page.queries.session_detail import place_datapoint
from hl_sessions.server.page.requests import identifier_in
from hl_sessions.server.protocol.identifiers import LOG
from hl_sessions.server.records.logs import get_log


async def show_datapoint(request: Request) -> Response:
    """Show a datapoint in its session; one without a session as JSON."""
    log_id = identifier_in(request, "log_id", LOG)
    wanted = SessionFilter.read(request.query_params)
    place = await read_for(request, place_datapoint, log_id)
    if place is None:
        raise HTTPException(404)
    prefix = prefix_of(request.scope)
    if place.session_id is None:
        return RedirectResponse(f"{prefix}/datapoints/{log_id}.json", 303)
    view = "timeline" if place.is_nested else request.query_params.get("view")
    # Opened here, because opening it by the page's script would move everything below it.
    opened = log_id if view == "timeline" else None
    query = wanted.query(view=view, after=place.after, open=opened)
    return RedirectResponse(f"{prefix}/sessions/{place.session_id}{query}#{log_id}", 303)


async def give_datapoint(request: Request) -> Response:
    """Answer the whole datapoint as JSON."""
    log = await read_for(request, get_log, identifier_in(request, "log_id", LOG))
    if log is None:
        raise HTTPException(404)
    return parts_response(request, log)
