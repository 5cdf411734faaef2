"""The queue of sessions that have not been judged, shown one by one."""

from fastapi import HTTPException
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hl_sessions.server.finding.filters import Cursor, SessionFilter
from hl_sessions.server.finding.session_search import UnknownCursorError
from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.http.reading import scan_for
from hl_sessions.server.page.queries.giving import UnfitFeedbackError
from hl_sessions.server.page.queries.judging import Left, count_left, find_next, judge
from hl_sessions.server.page.queries.session_detail import SessionDetail, read_session
from hl_sessions.server.page.requests import identifier_in, is_from_script, prices_of
from hl_sessions.server.page.show.conversation import tell
from hl_sessions.server.page.show.rendering import render
from hl_sessions.server.page.views.feedback import text_in
from hl_sessions.server.protocol.identifiers import SESSION
from hl_sessions.server.records.refusals import UnknownSubjectError


async def go_on(request: Request) -> Response:
    """Go on to the next session of the queue, or show that there is none."""
    wanted, cursor = SessionFilter.read(request.query_params), Cursor.read(request.query_params)
    late = _late(request)
    try:
        session_id = await scan_for(request, find_next, wanted, cursor)
    except UnknownCursorError:
        # The session was deleted, and with it the place in the queue.
        return RedirectResponse(f"{prefix_of(request.scope)}/judging{wanted.query(late=late)}", 303)
    if session_id is None:
        return await render(request, "judged.html", wanted=wanted, cursor=cursor, late=late)
    query = wanted.query(late=late)
    return RedirectResponse(f"{prefix_of(request.scope)}/judging/{session_id}{query}", 303)


async def show_queue(request: Request) -> Response:
    """Show a session of the queue, to be judged."""
    wanted, session_id = (
        SessionFilter.read(request.query_params),
        identifier_in(request, "session_id", SESSION),
    )

    def query(connection: Connection, organisation_id: int) -> tuple[SessionDetail, Left] | None:
        detail = read_session(connection, organisation_id, session_id, None, prices_of(request))
        if detail is None:
            return None
        return detail, count_left(connection, organisation_id, session_id, wanted)

    found = await scan_for(request, query)
    if found is None:
        raise HTTPException(404)
    detail, left = found
    return await render(
        request,
        "judging.html",
        wanted=wanted,
        detail=detail,
        left=left,
        after=None,
        view="conversation",
        turns=tell(detail.datapoints),
        late=_late(request),
    )


async def judge_session(request: Request) -> Response:
    """Store the reader's rating and note on a session, and go on to the next one.

    A script is answered with the address to go on to, so that it can stay if nothing could be stored.
    """
    wanted, session_id = (
        SessionFilter.read(request.query_params),
        identifier_in(request, "session_id", SESSION),
    )
    form = await request.form()
    organisation_id, reader = request.state.organisation_id, request.state.reader
    rating, note, is_first = text_in(form, "rating"), text_in(form, "note"), not text_in(form, "judged")
    try:
        is_kept = await request.app.state.database.write(
            lambda connection: judge(
                connection,
                organisation_id,
                reader,
                session_id,
                rating=rating,
                note=note,
                is_first=is_first,
            )
        )
    except UnknownSubjectError:
        raise HTTPException(404) from None
    except UnfitFeedbackError as error:
        raise HTTPException(422, f"{error}.") from None
    query = wanted.query(before=session_id, late=None if is_kept else "1")
    following = f"{prefix_of(request.scope)}/judging{query}"
    if is_from_script(request):
        return Response(status_code=204, headers={"Location": following})
    return RedirectResponse(following, 303)


def _late(request: Request) -> str | None:
    """Return the parameter for a rating that came too late; ``None`` if the last one was in time."""
    return "1" if request.query_params.get("late") else None
