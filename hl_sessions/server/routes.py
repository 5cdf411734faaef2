"""The calls of the v4 API that are served. Each one reads the request, asks the database, and answers."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement

from hl_sessions.server.access import organisation_of
from hl_sessions.server.database import Database
from hl_sessions.server.json_body import json_response, read_json
from hl_sessions.server.log_records import InvalidLogError, create_logs, get_log, list_logs, update_log
from hl_sessions.server.pages import Page
from hl_sessions.server.project_records import list_projects
from hl_sessions.server.rejections import NOT_FOUND, InvalidRequestError
from hl_sessions.server.session_records import create_session, get_session, list_sessions
from hl_sessions.server.tables import logs
from hl_sessions.server.wire import LogRequest, UpdateLogRequest
from hl_sessions.server.wire_values import LogId, ProjectId, SessionId

# Above, the offset of a page would not fit into an integer of the database.
PageNumber = Annotated[int, Query(ge=1, lt=2**31)]
PageSize = Annotated[int, Query(ge=1, le=100)]

_LOG_REQUESTS: Final = TypeAdapter(list[LogRequest])

router: Final = APIRouter()


@router.post("/sessions")
async def post_session(request: Request) -> Response:
    """Make a session."""
    organisation_id = organisation_of(request)
    session_id = await _database(request).write(
        lambda connection: create_session(connection, organisation_id)
    )
    return json_response({"id": session_id}, 201)


@router.get("/sessions/{session_id}")
async def get_one_session(request: Request, session_id: SessionId) -> Response:
    """Answer one session."""
    return _found(
        await _database(request).read(
            lambda connection: get_session(connection, organisation_of(request), session_id)
        )
    )


@router.get("/sessions")
async def get_sessions(
    request: Request, project_id: ProjectId, page: PageNumber = 1, size: PageSize = 10
) -> Response:
    """Answer a page of the sessions that hold a datapoint of the project, newest first."""
    wanted = Page(page, size)
    return _found(
        await _database(request).read(
            lambda connection: list_sessions(connection, organisation_of(request), project_id, wanted)
        )
    )


@router.post("/logs")
async def post_logs(request: Request) -> Response:
    """Store one datapoint, or all of a list, or none."""
    body = await read_json(request)
    is_list = isinstance(body, list)
    try:
        requests = _LOG_REQUESTS.validate_python(body if is_list else [body])
        created = await _database(request).write(
            lambda connection: create_logs(connection, organisation_of(request), requests)
        )
    except ValidationError as error:
        raise InvalidRequestError.in_body(error, skipped=0 if is_list else 1) from None
    except InvalidLogError as error:
        index = (error.index,) if is_list else ()
        raise InvalidRequestError.at(("body", *index, error.field), error.message) from None
    return json_response(created if is_list else created[0])


@router.get("/logs")
async def get_logs(
    request: Request, project_id: ProjectId, page: PageNumber = 1, size: PageSize = 50
) -> Response:
    """Answer a page of the datapoints of the project, newest first."""
    _refuse_filters(request, {"project_id", "page", "size"})
    wanted = Page(page, size)
    return _found(
        await _database(request).read(
            lambda connection: list_logs(connection, organisation_of(request), project_id, wanted)
        )
    )


@router.get("/logs/{log_id}")
async def get_one_log(request: Request, log_id: LogId) -> Response:
    """Answer one datapoint."""
    return _found(
        await _database(request).read(
            lambda connection: get_log(connection, organisation_of(request), log_id)
        )
    )


@router.patch("/logs/{log_id}")
async def patch_log(request: Request, log_id: LogId) -> Response:
    """Tell the output, the error or the duration of a datapoint after it was logged."""
    return await _update_log(request, logs.c.id == log_id)


@router.patch("/logs")
async def patch_log_by_reference(request: Request, reference_id: str) -> Response:
    """Do the same to the datapoint that was logged with the caller's own ID."""
    return await _update_log(request, logs.c.reference_id == reference_id)


@router.get("/projects")
async def get_projects(request: Request, page: PageNumber = 1, size: PageSize = 10) -> Response:
    """Answer a page of the projects, newest first."""
    _refuse_filters(request, {"page", "size"})
    wanted = Page(page, size)
    return json_response(
        await _database(request).read(
            lambda connection: list_projects(connection, organisation_of(request), wanted)
        )
    )


async def _update_log(request: Request, condition: ColumnElement[bool]) -> Response:
    try:
        update = UpdateLogRequest.model_validate(await read_json(request))
    except ValidationError as error:
        raise InvalidRequestError.in_body(error) from None
    return _found(
        await _database(request).write(
            lambda connection: update_log(connection, organisation_of(request), condition, update)
        )
    )


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _found(record: Mapping[str, Any] | None) -> Response:
    if record is None:
        raise HTTPException(404, NOT_FOUND)
    return json_response(record)


def _refuse_filters(request: Request, known: set[str]) -> None:
    # A filter that is ignored in silence would pass the whole list off as the filtered one.
    for name in request.query_params:
        if name not in known:
            raise InvalidRequestError.at(
                ("query", name), "This parameter is not supported yet", "not_supported"
            )
