"""Sessions in the database."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Column, Connection, Select, func, insert, select, update

from hl_sessions.server.identifiers import SESSION, new_identifier
from hl_sessions.server.pages import Page
from hl_sessions.server.project_records import project_exists
from hl_sessions.server.tables import logs, projects, sessions


def create_session(connection: Connection, organisation_id: int, reference_id: str | None = None) -> str:
    """Make a session and answer its ID."""
    session_id = new_identifier(SESSION)
    now = datetime.now(timezone.utc)
    connection.execute(
        insert(sessions).values(
            id=session_id,
            organisation_id=organisation_id,
            reference_id=reference_id,
            created_at=now,
            updated_at=now,
        )
    )
    return session_id


def find_or_create_session(connection: Connection, organisation_id: int, reference_id: str) -> str:
    """Answer the ID of the session with the caller's own ID, which is made on first use."""
    query = select(sessions.c.id).where(
        sessions.c.organisation_id == organisation_id, sessions.c.reference_id == reference_id
    )
    return connection.scalar(query) or create_session(connection, organisation_id, reference_id)


def session_exists(connection: Connection, organisation_id: int, session_id: str) -> bool:
    """Tell whether the organisation has a session with this ID."""
    query = select(sessions.c.id).where(
        sessions.c.id == session_id, sessions.c.organisation_id == organisation_id
    )
    return connection.scalar(query) is not None


def touch_session(connection: Connection, session_id: str, now: datetime) -> None:
    """Note that something in the session has changed."""
    connection.execute(update(sessions).where(sessions.c.id == session_id).values(updated_at=now))


def get_session(connection: Connection, organisation_id: int, session_id: str) -> dict[str, Any] | None:
    """Answer the session of the organisation with this ID, or ``None``."""
    query = _described_sessions().where(
        sessions.c.id == session_id, sessions.c.organisation_id == organisation_id
    )
    records = _read(connection, query)
    return records[0] if records else None


def list_sessions(
    connection: Connection, organisation_id: int, project_id: str, page: Page
) -> dict[str, Any] | None:
    """Answer one page of the sessions that hold a datapoint of the project, newest first.

    Returns:
        The page, or ``None`` when the organisation has no such project.
    """
    if not project_exists(connection, organisation_id, project_id):
        return None
    # Not EXISTS: SQLite would search all logs of the project once per session.
    in_project = sessions.c.id.in_(select(logs.c.session_id).where(logs.c.project_id == project_id))
    query = _described_sessions().where(in_project).order_by(sessions.c.sequence.desc())
    total = connection.scalar(select(func.count()).select_from(sessions).where(in_project)) or 0
    return page.answer(_read(connection, page.of(query)), total)


def _described_sessions() -> Select[Any]:
    of_session = select(func.count()).where(logs.c.session_id == sessions.c.id).correlate(sessions)
    return select(
        sessions.c.id,
        sessions.c.reference_id,
        of_session.scalar_subquery().label("datapoints_count"),
        _of_one_log(logs.c.inputs, logs.c.created_at, logs.c.sequence).label("first_inputs"),
        _of_one_log(logs.c.output, logs.c.created_at.desc(), logs.c.sequence.desc()).label("last_output"),
        sessions.c.created_at,
        sessions.c.updated_at,
    )


def _of_one_log(value: Column[Any], *order: Any) -> Any:
    return (
        select(value)
        .where(logs.c.session_id == sessions.c.id)
        .order_by(*order)
        .limit(1)
        .correlate(sessions)
        .scalar_subquery()
    )


def _read(connection: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    rows = connection.execute(query).mappings().all()
    projects_of = _projects_of(connection, [row["id"] for row in rows])
    return [
        {name: value for name, value in row.items() if value is not None}
        | {"projects": projects_of[row["id"]]}
        for row in rows
    ]


def _projects_of(connection: Connection, session_ids: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    query = (
        select(logs.c.session_id, projects.c.id, projects.c.name)
        .join(projects, projects.c.id == logs.c.project_id)
        .where(logs.c.session_id.in_(session_ids))
        .group_by(logs.c.session_id, projects.c.sequence, projects.c.id, projects.c.name)
        .order_by(projects.c.sequence)
    )
    projects_of: dict[str, list[dict[str, str]]] = defaultdict(list)
    for session_id, project_id, name in connection.execute(query):
        # The type is required since 0.7, where every project of v4 is a prompt.
        projects_of[session_id].append({"id": project_id, "name": name, "type": "prompt"})
    return projects_of
