"""Projects in the database."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select

from hl_sessions.server.identifiers import PROJECT, new_identifier
from hl_sessions.server.pages import Page
from hl_sessions.server.tables import logs, projects

_TEAM: Final = "tm_the-only-team-of-this-server"
"""The protocol wants to know the team of a project. There is one, and its ID opens nothing."""


def find_or_create_project(connection: Connection, name: str, now: datetime) -> str:
    """Answer the ID of the project with this name, which is made on first use."""
    found: str | None = connection.scalar(select(projects.c.id).where(projects.c.name == name))
    if found is not None:
        return found
    project_id = new_identifier(PROJECT)
    connection.execute(insert(projects).values(id=project_id, name=name, created_at=now, updated_at=now))
    return project_id


def project_exists(connection: Connection, project_id: str) -> bool:
    """Tell whether there is a project with this ID."""
    return connection.scalar(select(projects.c.id).where(projects.c.id == project_id)) is not None


def list_projects(connection: Connection, page: Page) -> dict[str, Any]:
    """Answer one page of the projects, newest first."""
    data_count = (
        select(func.count()).where(logs.c.project_id == projects.c.id).correlate(projects).scalar_subquery()
    )
    query = select(
        projects.c.id,
        projects.c.name,
        data_count.label("data_count"),
        projects.c.created_at,
        projects.c.updated_at,
    )
    rows = connection.execute(page.of(query.order_by(projects.c.sequence.desc()))).mappings()
    total = connection.scalar(select(func.count()).select_from(projects)) or 0
    records = [{**row, "users": [], "feedback_types": [], "team_id": _TEAM} for row in rows]
    return page.answer(records, total)
