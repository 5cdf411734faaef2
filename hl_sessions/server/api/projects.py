"""The calls for projects."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from hl_sessions.server.api.calls import (
    PageNumberOrZero,
    PageSize,
    SearchText,
    delete_in_steps,
    found,
    read_object,
    refuse_other_filters,
    write_for,
)
from hl_sessions.server.api.openapi import NOT_FOUND, body_of
from hl_sessions.server.http.json_body import json_response
from hl_sessions.server.http.reading import read_for, scan_for
from hl_sessions.server.http.rejections import InvalidRequestError
from hl_sessions.server.protocol.answers import ProjectAnswer, ProjectPage
from hl_sessions.server.protocol.paging import Page
from hl_sessions.server.protocol.requests import CreateProjectRequest, UpdateProjectRequest
from hl_sessions.server.protocol.values import ProjectId
from hl_sessions.server.records.deleting import delete_some_of_project
from hl_sessions.server.records.projects import (
    Direction,
    ProjectOrder,
    SortedBy,
    create_project,
    define_feedback_types,
    get_project,
    list_projects,
    project_exists,
    rename_project,
)

router: Final = APIRouter(tags=["Projects"])


@router.get("/projects", responses={200: {"model": ProjectPage}})
async def get_projects(
    request: Request,
    *,
    page: PageNumberOrZero = 1,
    size: PageSize = 10,
    filter: SearchText = "",  # noqa: A002 - the name is the protocol's
    sort_by: SortedBy = "created_at",
    order: Direction = "desc",
) -> Response:
    """Answer a page of the projects. ``filter`` is a text in their names, regardless of case."""
    refuse_other_filters(request, {"page", "size", "filter", "sort_by", "order"})
    part, sorting = Page(page, size), ProjectOrder(sort_by, order)
    return json_response(await scan_for(request, list_projects, sorting, filter or None, part))


@router.post(
    "/projects",
    status_code=201,
    responses={201: {"model": ProjectAnswer}},
    openapi_extra=body_of(CreateProjectRequest),
)
async def post_project(request: Request) -> Response:
    """Create a project; its name must be new."""
    name = (await read_object(request, CreateProjectRequest)).name
    project = await write_for(request, create_project, name)
    if project is None:
        raise _taken()
    return json_response(project, 201)


@router.get("/projects/{project_id}", responses={200: {"model": ProjectAnswer}, **NOT_FOUND})
async def get_one_project(request: Request, project_id: ProjectId) -> Response:
    """Answer one project."""
    return found(await read_for(request, get_project, project_id), "project", project_id)


@router.patch(
    "/projects/{project_id}",
    responses={200: {"model": ProjectAnswer}, **NOT_FOUND},
    openapi_extra=body_of(UpdateProjectRequest),
)
async def patch_project(request: Request, project_id: ProjectId) -> Response:
    """Rename a project, or define its types of feedback. A new name must be unused."""
    wanted = await read_object(request, UpdateProjectRequest)
    name, types = wanted.name, wanted.feedback_types

    def change(connection: Connection, organisation_id: int) -> dict[str, Any] | InvalidRequestError | None:
        if not project_exists(connection, organisation_id, project_id):
            return None
        if name is not None and not rename_project(connection, organisation_id, project_id, name):
            return _taken()
        if types is not None:
            define_feedback_types(connection, organisation_id, project_id, types)
        return get_project(connection, organisation_id, project_id)

    return found(await write_for(request, change), "project", project_id)


@router.delete("/projects/{project_id}", status_code=204, responses={**NOT_FOUND})
async def delete_one_project(request: Request, project_id: ProjectId) -> Response:
    """Delete a project with its datapoints, in short steps between which others run. Sessions stay."""
    return await delete_in_steps(request, delete_some_of_project, "project", project_id)


def _taken() -> InvalidRequestError:
    return InvalidRequestError.at(("body", "name"), "Another project has this name")
