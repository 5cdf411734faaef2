"""The calls about sessions."""

from functools import partial
from typing import Final

from fastapi import APIRouter, Request, Response

from hl_sessions.server.api.calls import PageNumber, PageSize, found_parts, write_together_for
from hl_sessions.server.api.openapi import NOT_FOUND
from hl_sessions.server.http.access import organisation_of
from hl_sessions.server.http.exchange import exchange_of
from hl_sessions.server.http.json_body import json_response
from hl_sessions.server.http.reading import read_for, scan_for
from hl_sessions.server.protocol.answers import CreatedSession, SessionAnswer, SessionPage
from hl_sessions.server.protocol.paging import Page
from hl_sessions.server.protocol.values import ProjectId, SessionId
from hl_sessions.server.records.idempotency import make_once
from hl_sessions.server.records.sessions import create_sessions, get_session, list_sessions

_CREATE_SESSIONS: Final = partial(make_once, create_sessions)

router: Final = APIRouter(tags=["Sessions"])


@router.post("/sessions", status_code=201, responses={201: {"model": CreatedSession}})
async def post_session(request: Request) -> Response:
    """Make a session."""
    session_id = await write_together_for(request, _CREATE_SESSIONS, organisation_of(request))
    exchange_of(request.scope).session_id = session_id
    return json_response({"id": session_id}, 201)


@router.get("/sessions/{session_id}", responses={200: {"model": SessionAnswer}, **NOT_FOUND})
async def get_one_session(request: Request, session_id: SessionId) -> Response:
    """Answer one session."""
    return found_parts(request, await read_for(request, get_session, session_id))


@router.get("/sessions", responses={200: {"model": SessionPage}, **NOT_FOUND})
async def get_sessions(
    request: Request, project_id: ProjectId, page: PageNumber = 1, size: PageSize = 10
) -> Response:
    """Answer a page of the sessions that hold a datapoint of the project, newest first."""
    wanted = Page(page, size)
    return found_parts(request, await scan_for(request, list_sessions, project_id, wanted))
