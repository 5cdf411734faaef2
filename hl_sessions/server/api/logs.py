"""The calls for logs, which are the datapoints."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import TypeAdapter

from hl_sessions.server.api.calls import (
    TEXT_PATTERN,
    Entries,
    PageNumberOrZero,
    PageSize,
    SearchText,
    checked_entries,
    checked_object,
    create_entries,
    found_parts,
    minimal_response,
    not_found,
    read_object,
    refuse_other_filters,
    write_for,
    write_together_for,
)
from hl_sessions.server.api.openapi import NOT_FOUND, body_of
from hl_sessions.server.http.access import organisation_of
from hl_sessions.server.http.exchange import exchange_of
from hl_sessions.server.http.json_body import read_json
from hl_sessions.server.http.parts_response import parts_response
from hl_sessions.server.http.reading import read_for, scan_for
from hl_sessions.server.http.rejections import InvalidRequestError
from hl_sessions.server.protocol.answers import Arrived, CreatedLog, LogAnswer, LogPage
from hl_sessions.server.protocol.identifiers import LOG, identifier_pattern
from hl_sessions.server.protocol.paging import Page
from hl_sessions.server.protocol.requests import (
    ConsistentLogRequest,
    LogRequest,
    UpdateLogEntry,
    UpdateLogRequest,
)
from hl_sessions.server.protocol.values import LogId, ProjectId, SessionId
from hl_sessions.server.records.arrivals import START, Arrivals
from hl_sessions.server.records.idempotency import make_once
from hl_sessions.server.records.log_creation import create_logs
from hl_sessions.server.records.log_filter import FirstTime, LastTime, LogFilter
from hl_sessions.server.records.logs import (
    LogUpdate,
    delete_logs,
    get_log,
    get_logs_by_id,
    list_logs,
    update_lists_of_logs,
    update_logs,
)
from hl_sessions.server.records.refusals import UnknownLogError

_PLACE: Final = f"^{START}$|{identifier_pattern(LOG)}"
_LOG_REQUESTS: Final = TypeAdapter(Entries[ConsistentLogRequest])
_UPDATE_LOG_ENTRIES: Final = TypeAdapter(Entries[UpdateLogEntry])
_CREATE_LOGS: Final = partial(make_once, create_logs)
_FILTERS: Final = {
    *("project_id", "session_id", "page", "size", "search", "metadata_search", "start_date", "end_date"),
    "version_status",
}

_KIND_BY: Final = {"id": "datapoint", "reference_id": "datapoint with the reference ID"}

router: Final = APIRouter(tags=["Logs"])


@router.post(
    "/logs",
    responses={200: {"model": CreatedLog | list[CreatedLog]}},
    openapi_extra=body_of(LogRequest, or_list_of=LogRequest),
)
async def post_logs(request: Request) -> Response:
    """Store one datapoint, or a list of them, all or none."""
    return await create_entries(request, LogRequest, _LOG_REQUESTS, _create_logs)


@router.get("/logs", responses={200: {"model": LogPage}, **NOT_FOUND})
async def get_logs(
    request: Request,
    *,
    project_id: ProjectId | None = None,
    session_id: SessionId | None = None,
    page: PageNumberOrZero = 1,
    size: PageSize = 50,
    search: SearchText = "",
    metadata_search: SearchText = "",
    start_date: FirstTime | None = None,
    end_date: LastTime | None = None,
    version_status: Literal["uncommitted", "committed", "deleted"] = "uncommitted",
) -> Response:
    """Answer a page of the datapoints of a project, of a session, or of both, newest first.

    One of ``project_id`` and ``session_id`` is required. A search finds a text regardless of case:
    ``search`` in inputs, messages and outputs, and ``metadata_search`` in the metadata. A date stands for its
    whole day. The version of every config is uncommitted here.
    """
    refuse_other_filters(request, _FILTERS)
    if project_id is None and session_id is None:
        problem = "One of 'project_id' and 'session_id' is required"
        raise InvalidRequestError.at(("query", "project_id"), problem, "missing")
    wanted = LogFilter(
        project_id=project_id,
        session_id=session_id,
        search=search or None,
        metadata_search=metadata_search or None,
        start=start_date,
        end=end_date,
        nothing=version_status != "uncommitted",
    )
    found = await scan_for(request, list_logs, wanted, Page(page, size))
    kind = "project" if session_id is None else "session"
    return found_parts(request, found, kind, session_id or project_id or "")


@router.get("/arrivals", responses={200: {"model": Arrived}, **NOT_FOUND})
async def get_arrivals(
    request: Request,
    *,
    after: Annotated[str | None, Query(pattern=_PLACE)] = None,
    project: SearchText | None = None,
    session_id: SessionId | None = None,
    open_ids: Annotated[Sequence[LogId], Query(alias="open", max_length=100)] = (),
    size: PageSize = 100,
) -> Response:
    """Answer the datapoints that have arrived since ``after``, which is the ``next`` of the previous answer.

    They can be limited to one project, by its name, or to one session. Without ``after`` the list is empty,
    and ``next`` stands for everything that arrives from now on. ``open`` names datapoints of earlier answers
    that had no output, error or duration: those that have one now come first, beyond ``size``. Status 404
    means that the datapoint that ``after`` stands for was deleted.
    """
    arrivals: Arrivals = request.app.state.arrivals
    parts = await scan_for(
        request, arrivals.find, after, size, project=project, session_id=session_id, open_ids=open_ids
    )
    return found_parts(request, parts, "datapoint", after or START)


@router.get("/logs/{log_id}", responses={200: {"model": LogAnswer}, **NOT_FOUND})
async def get_one_log(request: Request, log_id: LogId) -> Response:
    """Answer one datapoint."""
    return found_parts(request, await read_for(request, get_log, log_id), "datapoint", log_id)


@router.patch(
    "/logs/{log_id}",
    responses={200: {"model": LogAnswer}, **NOT_FOUND},
    openapi_extra=body_of(UpdateLogRequest),
)
async def patch_log(request: Request, log_id: LogId) -> Response:
    """Complete or change a datapoint after it was logged; each given field replaces the stored one."""
    return await _update_log(request, "id", log_id, await read_object(request, UpdateLogRequest))


@router.patch(
    "/logs",
    responses={200: {"model": LogAnswer | list[LogAnswer]}, **NOT_FOUND},
    openapi_extra=body_of(UpdateLogRequest, or_list_of=UpdateLogEntry),
)
async def patch_logs(
    request: Request, reference_id: Annotated[str | None, Query(pattern=TEXT_PATTERN)] = None
) -> Response:
    """Change the datapoint with the caller's own ID, or a list of datapoints, all or none.

    The entries of a list name their datapoints themselves, by ``id`` or ``reference_id``. A caller that does
    not need the changed datapoints sends ``Prefer: return=minimal`` (RFC 7240).
    """
    body = await read_json(request)
    if isinstance(body, list):
        entries = checked_entries(request, UpdateLogEntry, _UPDATE_LOG_ENTRIES, body)
        if reference_id is not None:
            raise InvalidRequestError.at(("query", "reference_id"), "Each entry of a list has its own")
        return await _update_list(request, entries)
    update = checked_object(request, UpdateLogRequest, body)
    if reference_id is None:
        raise InvalidRequestError.at(("query", "reference_id"), "Field required", "missing")
    return await _update_log(request, "reference_id", reference_id, update)


@router.delete("/logs", status_code=204, responses={**NOT_FOUND})
async def delete_some_logs(request: Request, ids: Annotated[list[LogId], Query(alias="id")]) -> Response:
    """Delete datapoints with their feedback, all or none. Datapoints nested under them stay."""
    if not await write_for(request, delete_logs, ids):
        problem = "One of these datapoints was deleted, or never existed. None is deleted now"
        raise HTTPException(404, problem)
    return Response(status_code=204)


async def _create_logs(request: Request, given: Sequence[LogRequest]) -> Sequence[dict[str, str]]:
    argument = (organisation_of(request), given)
    created = await write_together_for(request, _CREATE_LOGS, argument, size=len(given))
    session_ids = {log.get("session_id") for log in created}
    if len(session_ids) == 1:
        exchange_of(request.scope).session_id = session_ids.pop()
    return created


async def _update_log(
    request: Request, by: Literal["id", "reference_id"], name: str, update: UpdateLogRequest
) -> Response:
    change = LogUpdate(organisation_of(request), by, name, update)
    try:
        return parts_response(request, await write_together_for(request, update_logs, change))
    except UnknownLogError:
        raise not_found(_KIND_BY[by], name) from None


async def _update_list(request: Request, entries: Sequence[UpdateLogEntry]) -> Response:
    changes = [_named_update(organisation_of(request), entry) for entry in entries]
    try:
        log_ids = await write_together_for(request, update_lists_of_logs, changes, size=len(changes))
    except UnknownLogError as error:
        problem = f"There is no datapoint with the {error.by} {error.name!r}, that of entry {error.index}"
        raise HTTPException(404, problem) from None
    # Read outside the transaction that writes: the answer may be long, and other requests would wait.
    return minimal_response(request) or parts_response(
        request, await read_for(request, get_logs_by_id, log_ids)
    )


def _named_update(organisation_id: int, entry: UpdateLogEntry) -> LogUpdate:
    if entry.id is not None:
        return LogUpdate(organisation_id, "id", entry.id, entry)
    return LogUpdate(organisation_id, "reference_id", entry.reference_id or "", entry)
