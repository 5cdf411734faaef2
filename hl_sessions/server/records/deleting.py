"""Deletes many datapoints in small steps, each in a transaction of its own, so that nobody waits for long."""

from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, bindparam, delete, select

from hl_sessions.server.database.tables import logs, project_sessions, projects, sessions
from hl_sessions.server.records.counts import count_deleted
from hl_sessions.server.records.projects import project_exists
from hl_sessions.server.records.session_totals import COUNTED, Datapoints

_LONGEST: Final = 0.015
"""Seconds after which a step takes up nothing more: with its commit, others wait for some 20 ms."""

_DATAPOINTS_AT_ONCE: Final = 100
"""How many datapoints are deleted before the clock is read again, as there are long ones."""

_LOGS_OF_PROJECT: Final = (
    select(*COUNTED)
    .outerjoin(sessions, sessions.c.id == logs.c.session_id)
    .where(logs.c.project_id == bindparam("project_id"))
    .with_for_update(of=logs, skip_locked=True)
)
_LOGS_OF_SESSION: Final = (
    select(*COUNTED)
    .join(sessions, sessions.c.id == logs.c.session_id)
    .where(sessions.c.id == bindparam("session_id"))
    .with_for_update(of=logs, skip_locked=True)
)
_DELETE: Final = delete(logs).where(logs.c.sequence.in_(bindparam("sequences", expanding=True)))


def delete_some_logs(
    connection: Connection, doomed: Select[Any], **parameters: Any
) -> tuple[Sequence[Row[Any]], bool]:
    """Delete logs for some 15 milliseconds; to count them is left to the caller.

    Args:
        connection: The connection of the transaction.
        doomed: Finds, and locks, those that are to be deleted, with ``COUNTED``.
        parameters: Its parameters.

    Returns:
        The logs that were deleted, and whether no others were found.
    """
    some = doomed.limit(_DATAPOINTS_AT_ONCE)
    deleted: list[Row[Any]] = []
    end = monotonic() + _LONGEST
    while True:
        found = connection.execute(some, parameters).all()
        connection.execute(_DELETE, {"sequences": [log.sequence for log in found]})
        deleted += found
        are_all = len(found) < _DATAPOINTS_AT_ONCE
        if are_all or monotonic() > end:
            return deleted, are_all


def delete_some_of_project(connection: Connection, organisation_id: int, project_id: str) -> bool | None:
    """Delete some of the logs of a project, and with the last of them the project; sessions stay.

    Returns:
        Whether the project is gone; ``None`` when there was none.
    """
    if not project_exists(connection, organisation_id, project_id):
        return None
    deleted, are_all = delete_some_logs(connection, _LOGS_OF_PROJECT, project_id=project_id)
    if deleted:
        count_deleted(connection, Datapoints.read(deleted))
    if are_all:
        connection.execute(delete(project_sessions).where(project_sessions.c.project_id == project_id))
        connection.execute(delete(projects).where(projects.c.id == project_id))
    return are_all


def delete_some_of_session(connection: Connection, organisation_id: int, session_id: str) -> bool | None:
    """Delete some of the datapoints of a session, and with the last of them the session.

    Returns:
        Whether the session is gone; ``None`` when there was none.
    """
    this = (sessions.c.id == session_id, sessions.c.organisation_id == organisation_id)
    if connection.scalar(select(sessions.c.sequence).where(*this)) is None:
        return None
    deleted, are_all = delete_some_logs(connection, _LOGS_OF_SESSION, session_id=session_id)
    if deleted:
        count_deleted(connection, Datapoints.read(deleted))
    if are_all:
        connection.execute(delete(sessions).where(*this))
    return are_all
