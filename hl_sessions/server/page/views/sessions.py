"""The pages of sessions: the list, and one session."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import HTTPException
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from hl_sessions.server.finding.filters import Cursor, SessionFilter, read_what_is_valid
from hl_sessions.server.finding.session_search import UnknownCursorError, find_sessions, sort_limit
from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.http.reading import read_for, scan_for
from hl_sessions.server.page.queries.neighbours import Neighbours, find_beside, find_neighbours
from hl_sessions.server.page.queries.project_list import count_outside_sessions, name_projects
from hl_sessions.server.page.queries.session_detail import SessionDetail, read_session, read_version
from hl_sessions.server.page.queries.session_list import describe_sessions
from hl_sessions.server.page.requests import identifier_in, prices_of
from hl_sessions.server.page.show.columns import COLUMNS, read_columns, with_compared
from hl_sessions.server.page.show.conversation import MOST_MESSAGES, tell
from hl_sessions.server.page.show.rendering import render
from hl_sessions.server.page.show.timeline import lay_out
from hl_sessions.server.page.views.columns import COOKIE as COLUMNS_COOKIE
from hl_sessions.server.page.views.problems import problem
from hl_sessions.server.protocol.identifiers import LOG, SESSION, identifier_pattern

_LABELS: Final[Mapping[str | None, str | None]] = {
    "q": "Search",
    "project": "Project",
    "from": "From",
    "until": "Until",
}
"""The labels of the fields that the parameters of the address come from."""


async def show_sessions(request: Request) -> Response:
    """Show the list of sessions, or the part of it that the address names."""
    wanted, errors = read_what_is_valid(request.query_params)
    cursor = Cursor.read(request.query_params)
    try:
        values = await _read_list(request, wanted, cursor, with_form=True)
    except UnknownCursorError:
        return await _lost_part(request)
    if cursor.after and not values["found"].has_newer:
        # The first part is a full one, because it is kept up to date.
        return RedirectResponse(f"{prefix_of(request.scope)}/{wanted.query()}", 303)
    return await render(
        request,
        "sessions.html",
        422 if errors else 200,
        errors=[f"{_LABELS.get(error.parameter, error.parameter)} {error.problem}" for error in errors],
        typed=request.query_params,
        columns=with_compared(read_columns(request.cookies.get(COLUMNS_COOKIE)), wanted),
        all_columns=COLUMNS,
        **values,
    )


async def show_session_rows(request: Request) -> Response:
    """Answer the same part of the list as HTML, for the page to update itself."""
    wanted, cursor = SessionFilter.read(request.query_params), Cursor.read(request.query_params)
    try:
        values = await _read_list(request, wanted, cursor, with_form=False)
    except UnknownCursorError:
        return await _lost_part(request)
    # The columns of the asking page, because another page may have chosen others meanwhile.
    columns = read_columns(request.query_params.get("columns"))
    return await render(request, "session_rows.html", columns=columns, **values)


async def show_session(request: Request) -> Response:
    """Show one session, as a conversation or, with ``view=timeline``, as a tree with a time line."""
    session_id, after = (
        identifier_in(request, "session_id", SESSION),
        request.query_params.get("after") or None,
    )
    if after is not None and not re.match(identifier_pattern(LOG), after):
        raise HTTPException(404)
    wanted, prices = SessionFilter.read(request.query_params), prices_of(request)

    def query(connection: Connection, organisation_id: int) -> tuple[SessionDetail, Neighbours] | None:
        detail = read_session(connection, organisation_id, session_id, after, prices)
        if detail is None:
            return None
        if wanted.looks_inside:
            # Looked up when the link is followed, because it may take as long as the list.
            return detail, Neighbours(f"{session_id}/newer", f"{session_id}/older")
        return detail, find_neighbours(connection, organisation_id, session_id, wanted)

    found = await read_for(request, query)
    if found is None:
        raise HTTPException(404)
    detail, neighbours = found
    is_timeline = request.query_params.get("view") == "timeline"
    return await render(
        request,
        "session.html",
        wanted=wanted,
        detail=detail,
        neighbours=neighbours,
        after=after,
        view="timeline" if is_timeline else "conversation",
        opened=request.query_params.get("open"),
        most_messages=MOST_MESSAGES,
        timeline=lay_out(detail.datapoints),
        turns=None if is_timeline else tell(detail.datapoints),
    )


async def show_newer(request: Request) -> Response:
    """Go on to the next newer session of the list."""
    return await _show_beside(request, "newer", lambda session_id: Cursor(after=session_id))


async def show_older(request: Request) -> Response:
    """Go on to the next older session of the list."""
    return await _show_beside(request, "older", lambda session_id: Cursor(before=session_id))


async def tell_version(request: Request) -> Response:
    """Answer the version of a session, which changes with every change in it."""
    version = await read_for(request, read_version, identifier_in(request, "session_id", SESSION))
    if version is None:
        raise HTTPException(404)
    return JSONResponse({"version": version})


async def _read_list(
    request: Request, wanted: SessionFilter, cursor: Cursor, *, with_form: bool
) -> dict[str, Any]:
    def query(connection: Connection, organisation_id: int) -> dict[str, Any]:
        found = find_sessions(connection, organisation_id, wanted, cursor)
        is_whole = wanted == SessionFilter(project_id=wanted.project_id) and cursor == Cursor()
        return {
            "wanted": wanted,
            "cursor": cursor,
            "found": found,
            "sessions": describe_sessions(connection, found.ids),
            "sort_limit": sort_limit(connection, organisation_id, wanted) if with_form else None,
            "projects": name_projects(connection, organisation_id) if with_form else (),
            "outside_sessions": (
                count_outside_sessions(connection, organisation_id, wanted.project_id)
                if with_form and is_whole and not found.ids
                else 0
            ),
        }

    # Without a search, this reads 50 entries of an index.
    return await (scan_for if wanted.looks_inside else read_for)(request, query)


async def _show_beside(request: Request, side: str, cursor_at: Callable[[str], Cursor]) -> Response:
    session_id = identifier_in(request, "session_id", SESSION)
    wanted = SessionFilter.read(request.query_params)
    try:
        found = await scan_for(request, find_beside, cursor_at(session_id), wanted)
    except UnknownCursorError:
        raise HTTPException(404) from None
    if found is None:
        return await problem(
            request, 404, f"No {side} session", f"The list has no session that is {side} than the last one."
        )
    query = wanted.query(view=request.query_params.get("view"))
    return RedirectResponse(f"{prefix_of(request.scope)}/sessions/{found}{query}", 303)


async def _lost_part(request: Request) -> Response:
    return await problem(
        request, 404, "This part of the list is gone", "The session at its start was deleted."
    )
