"""The calls for sessions."""

from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from hl_sessions.server.api.calls import (
    TEXT_PATTERN,
    PageNumber,
    PageSize,
    delete_in_steps,
    found_parts,
    minimal_response,
    not_found,
    read_object,
    refuse_other_filters,
    write_for,
    write_together_for,
)
from hl_sessions.server.api.openapi import NOT_FOUND, body_of
from hl_sessions.server.finding.filters import InvalidFilterError, SessionFilter
from hl_sessions.server.finding.session_page import list_found_sessions
from hl_sessions.server.http.access import organisation_of
from hl_sessions.server.http.body_limit import body_of as body_of_request
from hl_sessions.server.http.exchange import exchange_of
from hl_sessions.server.http.json_body import json_response
from hl_sessions.server.http.reading import read_for, scan_for
from hl_sessions.server.http.rejections import InvalidRequestError
from hl_sessions.server.protocol.answers import CreatedSession, SessionAnswer, SessionPage
from hl_sessions.server.protocol.paging import Page
from hl_sessions.server.protocol.requests import CreateSessionRequest, UpdateSessionRequest
from hl_sessions.server.protocol.values import ProjectId, SessionId
from hl_sessions.server.records.deleting import delete_some_of_session
from hl_sessions.server.records.idempotency import make_once
from hl_sessions.server.records.refusals import InvalidEntryError
from hl_sessions.server.records.sessions import (
    NewSession,
    create_sessions,
    get_session,
    list_all_sessions,
    list_sessions,
    update_session,
)

_CREATE_SESSIONS: Final = partial(make_once, create_sessions)
_FILTERS: Final = {"project_id", "page", "size", "q", "sort"}
_KIND_BY: Final = {"id": "session", "reference_id": "session with the reference ID"}
_MOST_FOUND: Final = 10_000
"""The number of sessions of a filter that have pages."""

router: Final = APIRouter(tags=["Sessions"])


@router.post(
    "/sessions",
    status_code=201,
    responses={201: {"model": CreatedSession}},
    openapi_extra=body_of(CreateSessionRequest, is_required=False),
)
async def post_session(request: Request) -> Response:
    """Create a session.

    If a session with this ``reference_id`` exists, its ID is answered, and it is not changed.
    """
    new = NewSession(organisation_of(request), await _told(request))
    session_id = await write_together_for(request, _CREATE_SESSIONS, new)
    exchange_of(request.scope).session_id = session_id
    return json_response({"id": session_id}, 201)


@router.get("/sessions/{session_id}", responses={200: {"model": SessionAnswer}, **NOT_FOUND})
async def get_one_session(request: Request, session_id: SessionId) -> Response:
    """Answer one session."""
    return found_parts(request, await read_for(request, get_session, session_id), "session", session_id)


@router.patch(
    "/sessions/{session_id}",
    responses={200: {"model": SessionAnswer}, **NOT_FOUND},
    openapi_extra=body_of(UpdateSessionRequest),
)
async def patch_session(request: Request, session_id: SessionId) -> Response:
    """Change the fields of a session.

    A caller that does not need the changed session sends ``Prefer: return=minimal`` (RFC 7240).
    """
    return await _update(request, "id", session_id)


@router.patch(
    "/sessions",
    responses={200: {"model": SessionAnswer}, **NOT_FOUND},
    openapi_extra=body_of(UpdateSessionRequest),
)
async def patch_session_by_reference(
    request: Request, reference_id: Annotated[str, Query(pattern=TEXT_PATTERN)]
) -> Response:
    """Change the session with the caller's own ID."""
    return await _update(request, "reference_id", reference_id)


@router.delete("/sessions/{session_id}", status_code=204, responses={**NOT_FOUND})
async def delete_one_session(request: Request, session_id: SessionId) -> Response:
    """Delete a session with its datapoints, in short steps between which other requests run."""
    return await delete_in_steps(request, delete_some_of_session, "session", session_id)


@router.get("/sessions", responses={200: {"model": SessionPage}, **NOT_FOUND})
async def get_sessions(
    request: Request,
    *,
    project_id: ProjectId | None = None,
    page: PageNumber = 1,
    size: PageSize = 10,
    q: str = "",
    sort: str = "",
) -> Response:
    """Answer a page of all sessions, or of those with a datapoint of the project, newest first.

    ``q`` is a filter of the page, such as ``model:large-1 cost>0.05 "red shoes"``. ``sort`` is an order of
    the page, such as ``-cost``. With either of them, only the first 10,000 sessions have pages, and ``total``
    counts up to 200 sessions beyond this page. Without them it is exact for a project, and for all sessions
    up to 10,000.
    """
    refuse_other_filters(request, _FILTERS)
    wanted = Page(page, size)
    if q or sort:
        found = await scan_for(request, list_found_sessions, _filter(q, sort, project_id, wanted), wanted)
    elif project_id is None:
        found = await scan_for(request, list_all_sessions, wanted)
    else:
        found = await scan_for(request, list_sessions, project_id, wanted)
    return found_parts(request, found, "project", project_id or "")


def _filter(q: str, sort: str, project_id: str | None, page: Page) -> SessionFilter:
    if page.number * page.size > _MOST_FOUND:
        problem = (
            f"Only the first {_MOST_FOUND} sessions have pages: narrow the filter, as by began<2026-11-22"
        )
        raise InvalidRequestError.at(("query", "page"), problem)
    try:
        return SessionFilter.read({"q": q, "sort": sort, "project": project_id or ""})
    except InvalidFilterError as error:
        raise InvalidRequestError.at(("query", error.parameter or "q"), str(error)) from None


async def _update(request: Request, by: Literal["id", "reference_id"], name: str) -> Response:
    told = (await read_object(request, UpdateSessionRequest)).model_dump(exclude_none=True)
    try:
        session_id = await write_for(request, update_session, by, name, told)
    except InvalidEntryError as error:
        raise InvalidRequestError.at(("body", error.field), str(error)) from None
    if session_id is None:
        raise not_found(_KIND_BY[by], name)
    exchange_of(request.scope).session_id = session_id
    minimal = minimal_response(request)
    if minimal is not None:
        return minimal
    return found_parts(request, await read_for(request, get_session, session_id), "session", session_id)


async def _told(request: Request) -> dict[str, Any]:
    if not body_of_request(request.scope):  # as the vendor's clients send it
        return {}
    return (await read_object(request, CreateSessionRequest)).model_dump(exclude_none=True)
