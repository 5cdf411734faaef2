"""Giving feedback with a click."""

from fastapi import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.page.queries.rating import RATINGS, rate
from hl_sessions.server.page.requests import identifier_in, is_from_script
from hl_sessions.server.protocol.identifiers import LOG


async def rate_datapoint(request: Request) -> Response:
    """Rate a datapoint, or take that back, and go back to it."""
    form = await request.form()
    value, log_id = form.get("value"), identifier_in(request, "log_id", LOG)
    if not isinstance(value, str) or value not in RATINGS:
        raise HTTPException(422, f"A rating is one of: {', '.join(RATINGS)}.")
    organisation_id = request.state.organisation_id
    session_id = await request.app.state.database.write(
        lambda connection: rate(connection, organisation_id, log_id, value)
    )
    if session_id is None:
        raise HTTPException(404)
    if is_from_script(request):
        return Response(status_code=204)
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{prefix_of(request.scope)}/datapoints/{log_id}{query}", 303)
