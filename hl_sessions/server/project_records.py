"""Projects in the database."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from hl_sessions.server.identifiers import PROJECT, new_identifier
from hl_sessions.server.pages import Page
from hl_sessions.server.tables import logs, organisations, projects


def find_or_create_project(connection: Connection, organisation_id: int, name: str, now: datetime) -> str:
    """Answer the ID of the project with this name, which is made on first use."""
    found: str | None = connection.scalar(
        select(projects.c.id).where(projects.c.organisation_id == organisation_id, projects.c.name == name)
    )
    if found is not None:
        return found
    project_id = new_identifier(PROJECT)
    connection.execute(
        insert(projects).values(
            id=project_id, organisation_id=organisation_id, name=name, created_at=now, updated_at=now
        )
    )
    return project_id


def project_exists(connection: Connection, organisation_id: int, project_id: str) -> bool:
    """Tell whether the organisation has a project with this ID."""
    query = select(projects.c.id).where(
        projects.c.id == project_id, projects.c.organisation_id == organisation_id
    )
    return connection.scalar(query) is not None


def list_projects(connection: Connection, organisation_id: int, page: Page) -> dict[str, Any]:
    """Answer one page of the projects of the organisation, newest first."""
    data_count = (
        select(func.count()).where(logs.c.project_id == projects.c.id).correlate(projects).scalar_subquery()
    )
    of_organisation = projects.c.organisation_id == organisation_id
    query = (
        select(
            projects.c.id,
            projects.c.name,
            data_count.label("data_count"),
            organisations.c.team_id,
            projects.c.created_at,
            projects.c.updated_at,
        )
        .join(organisations, organisations.c.sequence == projects.c.organisation_id)
        .where(of_organisation)
        .order_by(projects.c.sequence.desc())
    )
    rows = connection.execute(page.of(query)).mappings()
    total = connection.scalar(select(func.count()).select_from(projects).where(of_organisation)) or 0
    return page.answer([{**row, "users": [], "feedback_types": []} for row in rows], total)
