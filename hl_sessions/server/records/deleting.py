"""Deletes many datapoints in small steps, each in a transaction of its own, so that nobody waits for long."""

from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, select

from hl_sessions.server.database.tables import logs, project_sessions, projects, sessions
from hl_sessions.server.records.counts import count_deleted
from hl_sessions.server.records.projects import project_exists

_DATAPOINTS_AT_ONCE: Final = 500


def delete_some_logs(connection: Connection, condition: ColumnElement[bool]) -> int:
    """Delete up to 500 logs for which ``condition`` is true, and answer how many; 0 when there is none."""
    query = (
        select(logs.c.sequence, logs.c.project_id, sessions.c.sequence.label("session_sequence"))
        .outerjoin(sessions, sessions.c.id == logs.c.session_id)
        .where(condition)
        .limit(_DATAPOINTS_AT_ONCE)
        .with_for_update(of=logs)
    )
    rows = connection.execute(query).all()
    if rows:
        connection.execute(delete(logs).where(logs.c.sequence.in_([row.sequence for row in rows])))
        count_deleted(connection, [(row.project_id, row.session_sequence) for row in rows])
    return len(rows)


def delete_some_of_project(connection: Connection, organisation_id: int, project_id: str) -> bool | None:
    """Delete some of the logs of a project, and with the last of them the project; sessions stay.

    Returns:
        Whether the project is gone; ``None`` when there was none.
    """
    if not project_exists(connection, organisation_id, project_id):
        return None
    if delete_some_logs(connection, logs.c.project_id == project_id) == _DATAPOINTS_AT_ONCE:
        return False
    connection.execute(delete(project_sessions).where(project_sessions.c.project_id == project_id))
    connection.execute(delete(projects).where(projects.c.id == project_id))
    return True
