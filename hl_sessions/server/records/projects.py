"""Projects in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, select, update

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.tables import organisations, projects
from hl_sessions.server.database.text_search import text_contains
from hl_sessions.server.protocol.feedback_types import FeedbackType, types_by_name
from hl_sessions.server.protocol.identifiers import PROJECT, new_identifier
from hl_sessions.server.protocol.paging import Page

SortedBy = Literal["created_at", "updated_at", "name"]
Direction = Literal["asc", "desc"]


@dataclass(frozen=True)
class ProjectOrder:
    """The order of projects; of equal ones, the later one counts as the greater.

    Args:
        by: The field.
        direction: Whether the smallest or the greatest comes first.
    """

    by: SortedBy = "created_at"
    direction: Direction = "desc"

    def columns(self) -> list[ColumnElement[Any]]:
        """Return the columns that a query of projects is ordered by."""
        columns = (projects.c[self.by], projects.c.sequence)
        return [column.asc() if self.direction == "asc" else column.desc() for column in columns]


def project_exists(connection: Connection, organisation_id: int, project_id: str) -> bool:
    """Tell whether the organisation has a project with this ID."""
    query = select(projects.c.id).where(
        projects.c.id == project_id, projects.c.organisation_id == organisation_id
    )
    return connection.scalar(query) is not None


def is_project_name(connection: Connection, name: str) -> bool:
    """Tell whether a project of any organisation has this name."""
    return connection.scalar(select(projects.c.id).where(projects.c.name == name).limit(1)) is not None


def create_project(connection: Connection, organisation_id: int, name: str) -> dict[str, Any] | None:
    """Create a project and return it, or ``None`` if another one has the name."""
    if _is_taken(connection, organisation_id, name):
        return None
    now = datetime.now(timezone.utc)
    project_id = new_identifier(PROJECT)
    values = {"id": project_id, "organisation_id": organisation_id, "name": name}
    insert_rows(connection, projects, [{**values, "created_at": now, "updated_at": now}])
    return get_project(connection, organisation_id, project_id)


def get_project(connection: Connection, organisation_id: int, project_id: str) -> dict[str, Any] | None:
    """Return the organisation's project with this ID, or ``None``."""
    query = _described_projects(organisation_id).where(projects.c.id == project_id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _answer(row)


def define_feedback_types(
    connection: Connection, organisation_id: int, project_id: str, types: Sequence[FeedbackType]
) -> None:
    """Replace the types of feedback that a project defines; existing feedback stays."""
    change = update(projects).where(
        projects.c.id == project_id, projects.c.organisation_id == organisation_id
    )
    connection.execute(
        change.values(feedback_types=list(types) or None, updated_at=datetime.now(timezone.utc))
    )


def rename_project(connection: Connection, organisation_id: int, project_id: str, name: str) -> bool:
    """Rename an existing project, and tell whether no other project has the name."""
    if _is_taken(connection, organisation_id, name, except_project=project_id):
        return False
    change = update(projects).where(
        projects.c.id == project_id, projects.c.organisation_id == organisation_id
    )
    connection.execute(change.values(name=name, updated_at=datetime.now(timezone.utc)))
    return True


def list_projects(
    connection: Connection, organisation_id: int, order: ProjectOrder, name_filter: str | None, page: Page
) -> dict[str, Any]:
    """Return one page of the projects of the organisation.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation.
        order: The order of the projects.
        name_filter: A text in their names, regardless of case, or ``None``.
        page: The part of the list.
    """
    conditions = [projects.c.organisation_id == organisation_id]
    if name_filter is not None:
        conditions.append(text_contains(projects.c.name, name_filter))
    query = _described_projects(organisation_id).where(*conditions).order_by(*order.columns())
    rows = connection.execute(page.of(query)).mappings()
    total = connection.scalar(page.counting(select(projects.c.sequence).where(*conditions))) or 0
    return page.answer([_answer(row) for row in rows], total)


def _is_taken(
    connection: Connection, organisation_id: int, name: str, except_project: str | None = None
) -> bool:
    query = select(projects.c.id).where(
        projects.c.organisation_id == organisation_id, projects.c.name == name
    )
    return connection.scalar(query) not in {None, except_project}


def _described_projects(organisation_id: int) -> Select[Any]:
    return (
        select(
            projects.c.id,
            projects.c.name,
            projects.c.datapoints_count.label("data_count"),
            projects.c.feedback_types,
            organisations.c.team_id,
            projects.c.created_at,
            projects.c.updated_at,
        )
        .join(organisations, organisations.c.sequence == projects.c.organisation_id)
        .where(projects.c.organisation_id == organisation_id)
    )


def _answer(row: RowMapping) -> dict[str, Any]:
    types = list(types_by_name([row["feedback_types"]]).values())
    return {**row, "users": [], "feedback_types": types}
