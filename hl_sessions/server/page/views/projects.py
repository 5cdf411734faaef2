"""The page of the projects."""

from starlette.requests import Request
from starlette.responses import Response

from hl_sessions.server.http.reading import scan_for
from hl_sessions.server.page.queries.project_list import MAX_PROJECTS, list_projects
from hl_sessions.server.page.show.rendering import render


async def show_projects(request: Request) -> Response:
    """Show the projects."""
    projects = await scan_for(request, list_projects)
    return await render(request, "projects.html", projects=projects, is_cut=len(projects) == MAX_PROJECTS)
