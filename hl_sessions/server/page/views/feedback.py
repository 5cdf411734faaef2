"""Giving feedback with a click."""

from datetime import datetime, timezone
from typing import Final

from fastapi import HTTPException
from sqlalchemy import Connection, delete, select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hl_sessions.server.database.tables import feedback, logs
from hl_sessions.server.page.queries.session_detail import RATER, RATING
from hl_sessions.server.page.requests import identifier_in, is_from_script
from hl_sessions.server.protocol.identifiers import LOG
from hl_sessions.server.protocol.requests import LogFeedback
from hl_sessions.server.records.feedback import add_feedback
from hl_sessions.server.records.sessions import touch_sessions

RATINGS: Final = ("good", "bad", "none")
"""What a click can mean; the last one takes back an earlier one."""


async def rate_datapoint(request: Request) -> Response:
    """Rate a datapoint, or take that back, and go back to it."""
    form = await request.form()
    value, log_id = form.get("value"), identifier_in(request, "log_id", LOG)
    if not isinstance(value, str) or value not in RATINGS:
        raise HTTPException(422, f"A rating is one of: {', '.join(RATINGS)}.")
    organisation_id = request.state.organisation_id
    session_id = await request.app.state.database.write(
        lambda connection: _rate(connection, organisation_id, log_id, value)
    )
    if session_id is None:
        raise HTTPException(404)
    if is_from_script(request):
        return Response(status_code=204)
    view = "?view=timeline" if form.get("view") == "timeline" else ""
    return RedirectResponse(f"/sessions/{session_id}{view}#{log_id}", 303)


def _rate(connection: Connection, organisation_id: int, log_id: str, value: str) -> str | None:
    session_id: str | None = connection.scalar(
        select(logs.c.session_id).where(logs.c.id == log_id, logs.c.organisation_id == organisation_id)
    )
    if session_id is None:
        return None
    of_page = (feedback.c.log_id == log_id, feedback.c.type == RATING, feedback.c.user == RATER)
    connection.execute(delete(feedback).where(*of_page))
    now = datetime.now(timezone.utc)
    if value != "none":
        add_feedback(connection, log_id, LogFeedback(type=RATING, value=value, user=RATER), now)
    touch_sessions(connection, [session_id], now)
    return session_id
