"""Stores feedback of readers on a datapoint or a session."""

from fastapi import HTTPException
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.http.reading import read_for
from hl_sessions.server.page.queries.datapoints import read_feedback
from hl_sessions.server.page.queries.giving import UnfitFeedbackError, give
from hl_sessions.server.page.requests import identifier_in, is_from_script
from hl_sessions.server.page.show.rendering import render
from hl_sessions.server.protocol.identifiers import LOG, SESSION
from hl_sessions.server.records.feedback import Subject
from hl_sessions.server.records.refusals import UnknownSubjectError


async def give_on_datapoint(request: Request) -> Response:
    """Store the reader's feedback on a datapoint, or take it back, and go back to the datapoint.

    A script is answered with all feedback on it, as the page shows it.
    """
    log_id = identifier_in(request, "log_id", LOG)
    return await _give(request, Subject("log_id", log_id), f"/datapoints/{log_id}")


async def give_on_session(request: Request) -> Response:
    """Store the reader's feedback on a session, or take it back, and go back to the session.

    A script is answered with all feedback on it, as the page shows it.
    """
    session_id = identifier_in(request, "session_id", SESSION)
    return await _give(request, Subject("session_id", session_id), f"/sessions/{session_id}")


def text_in(form: FormData, name: str) -> str:
    """Return a text of a form as a database can store it; a missing one is empty."""
    text = form.get(name)
    # Browsers end lines with CRLF, and some databases refuse NUL characters.
    return text.replace("\r\n", "\n").replace("\0", "\ufffd").strip() if isinstance(text, str) else ""


async def _give(request: Request, on: Subject, path: str) -> Response:
    form = await request.form()
    texts = {text_in(form, "type"): text_in(form, "value")}
    if "value" not in form and "unset" not in form:
        raise HTTPException(422, "value is missing: an empty value takes your feedback back.")
    organisation_id, reader = request.state.organisation_id, request.state.reader
    try:
        known = await request.app.state.database.write(
            lambda connection: give(connection, organisation_id, reader, on, texts)
        )
    except UnknownSubjectError:
        raise HTTPException(404) from None
    except UnfitFeedbackError as error:
        raise HTTPException(422, f"{error}.") from None
    path, query = f"{prefix_of(request.scope)}{path}", f"?{request.url.query}" if request.url.query else ""
    if is_from_script(request):
        given = await read_for(request, lambda connection, _: read_feedback(connection, on.column, [on.id]))
        return await render(
            request,
            "feedback.html",
            given=given[on.id],
            types=known.types,
            address=f"{path}/feedback{query}",
        )
    return RedirectResponse(f"{path}{query}", 303)
