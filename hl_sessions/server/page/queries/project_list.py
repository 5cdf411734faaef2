"""The projects of an organisation, with the numbers of their datapoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select

from hl_sessions.server.database.tables import logs, projects
from hl_sessions.server.page.queries.session_list import ProjectLink
from hl_sessions.server.protocol.feedback_types import FeedbackType

MAX_PROJECTS: Final = 500
"""The number of projects that are listed, the newest ones."""


@dataclass(frozen=True)
class ListedProject:
    """A project as a row of the list.

    Args:
        id: Its ID.
        name: Its name.
        created_at: The time of its creation.
        datapoints: The number of its datapoints.
        last_datapoint_at: The time of the newest datapoint.
        feedback_types: The types of feedback that it defines.
    """

    id: str
    name: str
    created_at: datetime
    datapoints: int
    last_datapoint_at: datetime | None
    feedback_types: Sequence[FeedbackType]


def list_projects(connection: Connection, organisation_id: int) -> list[ListedProject]:
    """Read the projects, the newest one first."""
    last_at = (
        select(func.max(logs.c.created_at))
        .where(logs.c.project_id == projects.c.id)
        .correlate(projects)
        .scalar_subquery()
    )
    query = (
        select(
            projects.c.id,
            projects.c.name,
            projects.c.created_at,
            projects.c.datapoints_count.label("datapoints"),
            last_at.label("last_datapoint_at"),
            projects.c.feedback_types,
        )
        .where(projects.c.organisation_id == organisation_id)
        .order_by(projects.c.sequence.desc())
        .limit(MAX_PROJECTS)
    )
    return [
        ListedProject(**{**row, "feedback_types": row["feedback_types"] or ()})
        for row in connection.execute(query).mappings()
    ]


def count_outside_sessions(connection: Connection, organisation_id: int, project_id: str | None) -> int:
    """Count the datapoints of projects without sessions, which no list of sessions leads to.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        project_id: The only project to count; ``None``: all.
    """
    query = select(func.coalesce(func.sum(projects.c.datapoints_count), 0)).where(
        projects.c.organisation_id == organisation_id,
        projects.c.sessions_count == 0,
        *(() if project_id is None else (projects.c.id == project_id,)),
    )
    return int(connection.execute(query).scalar_one())


def name_projects(connection: Connection, organisation_id: int) -> Sequence[ProjectLink]:
    """Read the names of the projects, in their alphabetical order."""
    query = (
        select(projects.c.id, projects.c.name)
        .where(projects.c.organisation_id == organisation_id)
        .order_by(projects.c.sequence.desc())
        .limit(MAX_PROJECTS)
    )
    links = [ProjectLink(row.id, row.name) for row in connection.execute(query)]
    return sorted(links, key=lambda link: link.name.casefold())
