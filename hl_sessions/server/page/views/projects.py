"""The page of the projects and of the types of feedback that they define."""

from fastapi import HTTPException
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.http.reading import scan_for
from hl_sessions.server.page.queries.feedback_types import replace_type
from hl_sessions.server.page.queries.giving import UnfitFeedbackError
from hl_sessions.server.page.queries.project_list import MAX_PROJECTS, list_projects
from hl_sessions.server.page.requests import identifier_in
from hl_sessions.server.page.show.rendering import render
from hl_sessions.server.page.views.feedback import text_in
from hl_sessions.server.protocol.feedback_types import FeedbackType
from hl_sessions.server.protocol.identifiers import PROJECT


async def show_projects(request: Request) -> Response:
    """Show the projects."""
    projects = await scan_for(request, list_projects)
    return await render(request, "projects.html", projects=projects, is_cut=len(projects) == MAX_PROJECTS)


async def define_type(request: Request) -> Response:
    """Define a type of feedback of a project, or remove one, and go back to the project."""
    project_id = identifier_in(request, "project_id", PROJECT)
    form = await request.form()
    removed = text_in(form, "remove")
    wanted = None if removed else _type_in(form)
    name = removed if wanted is None else wanted["type"]
    organisation_id = request.state.organisation_id
    try:
        is_there = await request.app.state.database.write(
            lambda connection: replace_type(connection, organisation_id, project_id, name, wanted)
        )
    except UnfitFeedbackError as error:
        raise HTTPException(422, f"{error}.") from None
    if not is_there:
        raise HTTPException(404)
    return RedirectResponse(f"{prefix_of(request.scope)}/projects#{project_id}", 303)


def _type_in(form: FormData) -> FeedbackType:
    name, kind = text_in(form, "type"), text_in(form, "kind")
    if kind == "text":
        return {"type": name}
    if kind == "number":
        return {"type": name, "kind": "number"}
    if kind != "list":
        raise HTTPException(422, "kind may be list, number or text.")
    values = [value.strip() for value in text_in(form, "values").split(",")]
    if not any(values):
        raise HTTPException(422, "values: a list needs at least one value, such as formal, casual.")
    return {"type": name, "values": [{"value": value} for value in values if value]}
