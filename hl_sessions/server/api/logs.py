"""The calls about logs, the datapoints."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from hl_sessions.server.api.calls import (
    TEXT_PATTERN,
    Entries,
    PageNumberOrZero,
    PageSize,
    SearchText,
    create_entries,
    found_parts,
    not_found,
    read_object,
    refuse_other_filters,
    write_for,
    write_together_for,
)
from hl_sessions.server.api.openapi import NOT_FOUND, body_of
from hl_sessions.server.http.access import organisation_of
from hl_sessions.server.http.exchange import exchange_of
from hl_sessions.server.http.reading import read_for, scan_for
from hl_sessions.server.protocol.answers import CreatedLog, LogAnswer, LogPage
from hl_sessions.server.protocol.paging import Page
from hl_sessions.server.protocol.requests import ConsistentLogRequest, LogRequest, UpdateLogRequest
from hl_sessions.server.protocol.values import LogId, ProjectId
from hl_sessions.server.records.idempotency import make_once
from hl_sessions.server.records.log_creation import create_logs
from hl_sessions.server.records.log_filter import FirstTime, LastTime, LogFilter
from hl_sessions.server.records.logs import LogUpdate, delete_logs, get_log, list_logs, update_logs

_LOG_REQUESTS: Final = TypeAdapter(Entries[ConsistentLogRequest])
_CREATE_LOGS: Final = partial(make_once, create_logs)
_FILTERS: Final = {
    *("project_id", "page", "size", "search", "metadata_search", "start_date", "end_date"),
    "version_status",
}

router: Final = APIRouter(tags=["Logs"])


@router.post(
    "/logs",
    responses={200: {"model": CreatedLog | list[CreatedLog]}},
    openapi_extra=body_of(LogRequest, or_list=True),
)
async def post_logs(request: Request) -> Response:
    """Store one datapoint, or all of a list, or none."""
    return await create_entries(request, LogRequest, _LOG_REQUESTS, _create_logs)


@router.get("/logs", responses={200: {"model": LogPage}, **NOT_FOUND})
async def get_logs(
    request: Request,
    project_id: ProjectId,
    *,
    page: PageNumberOrZero = 1,
    size: PageSize = 50,
    search: SearchText = "",
    metadata_search: SearchText = "",
    start_date: FirstTime | None = None,
    end_date: LastTime | None = None,
    version_status: Literal["uncommitted", "committed", "deleted"] = "uncommitted",
) -> Response:
    """Answer a page of the datapoints of the project, newest first.

    A search looks for a text, in upper or lower case: ``search`` in inputs, messages and outputs, and
    ``metadata_search`` in the metadata. A date stands for the whole of its day. The version of every config
    is uncommitted here.
    """
    refuse_other_filters(request, _FILTERS)
    wanted = LogFilter(
        search=search or None,
        metadata_search=metadata_search or None,
        start=start_date,
        end=end_date,
        nothing=version_status != "uncommitted",
    )
    part = Page(page, size)
    return found_parts(request, await scan_for(request, list_logs, project_id, wanted, part))


@router.get("/logs/{log_id}", responses={200: {"model": LogAnswer}, **NOT_FOUND})
async def get_one_log(request: Request, log_id: LogId) -> Response:
    """Answer one datapoint."""
    return found_parts(request, await read_for(request, get_log, log_id))


@router.patch(
    "/logs/{log_id}",
    responses={200: {"model": LogAnswer}, **NOT_FOUND},
    openapi_extra=body_of(UpdateLogRequest),
)
async def patch_log(request: Request, log_id: LogId) -> Response:
    """Tell the output, the error or the duration of a datapoint after it was logged."""
    return await _update_log(request, "id", log_id)


@router.patch(
    "/logs", responses={200: {"model": LogAnswer}, **NOT_FOUND}, openapi_extra=body_of(UpdateLogRequest)
)
async def patch_log_by_reference(
    request: Request, reference_id: Annotated[str, Query(pattern=TEXT_PATTERN)]
) -> Response:
    """Do the same to the datapoint that was logged with the caller's own ID."""
    return await _update_log(request, "reference_id", reference_id)


@router.delete("/logs", status_code=204, responses={**NOT_FOUND})
async def delete_some_logs(request: Request, ids: Annotated[list[LogId], Query(alias="id")]) -> Response:
    """Delete datapoints with their feedback, all of them or none; what was nested under them stays."""
    if not await write_for(request, delete_logs, ids):
        raise not_found()
    return Response(status_code=204)


async def _create_logs(request: Request, given: Sequence[LogRequest]) -> Sequence[dict[str, str]]:
    argument = (organisation_of(request), given)
    created = await write_together_for(request, _CREATE_LOGS, argument, size=len(given))
    session_ids = {log.get("session_id") for log in created}
    if len(session_ids) == 1:
        exchange_of(request.scope).session_id = session_ids.pop()
    return created


async def _update_log(request: Request, by: Literal["id", "reference_id"], name: str) -> Response:
    update = LogUpdate(organisation_of(request), by, name, await read_object(request, UpdateLogRequest))
    return found_parts(request, await write_together_for(request, update_logs, update))
