"""Deletes many datapoints in small steps, each in its own transaction, so that others wait only briefly."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, delete, exists, select

from hl_sessions.server.database.tables import logs, project_sessions, projects, sessions
from hl_sessions.server.records.counts import count_deleted
from hl_sessions.server.records.projects import project_exists
from hl_sessions.server.records.session_totals import COUNTED, Datapoints

_LONGEST: Final = 0.015
"""Seconds after which a step deletes no more: with its commit, others wait for some 20 ms."""

_DATAPOINTS_AT_ONCE: Final = 100
"""The number of datapoints that are deleted between two looks at the clock: some are large."""

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


@dataclass(frozen=True)
class Deleted:
    """The numbers of deleted records.

    Args:
        sessions: The number of sessions.
        datapoints: The number of datapoints, with or without a session.
    """

    sessions: int = 0
    datapoints: int = 0

    def __add__(self, other: "Deleted") -> "Deleted":
        """Return the sum."""
        return Deleted(self.sessions + other.sessions, self.datapoints + other.datapoints)

    def __str__(self) -> str:
        """Return both numbers, as in ``1 session and 3 datapoints``."""
        sessions = "session" if self.sessions == 1 else "sessions"
        datapoints = "datapoint" if self.datapoints == 1 else "datapoints"
        return f"{self.sessions:,} {sessions} and {self.datapoints:,} {datapoints}"


def delete_some_logs(
    connection: Connection, doomed: Select[Any], **parameters: Any
) -> tuple[Sequence[Row[Any]], bool]:
    """Delete logs for some 15 milliseconds; the caller counts them.

    Args:
        connection: The connection of the transaction.
        doomed: Finds and locks the logs to delete, with the columns of ``COUNTED``.
        parameters: Its parameters.

    Returns:
        The deleted logs, and whether no others were found.
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


def delete_some_sessions(
    connection: Connection, *doomed: ColumnElement[bool], **parameters: Any
) -> tuple[Deleted, bool]:
    """Delete some datapoints of sessions, and the sessions that have none left.

    Args:
        connection: The connection of the transaction.
        doomed: The conditions that select the sessions.
        parameters: The parameters of these conditions.

    Returns:
        The numbers of deleted records, and whether no other datapoints were found.
    """
    of_doomed = (
        select(*COUNTED)
        .join(sessions, sessions.c.id == logs.c.session_id)
        .where(*doomed)
        .order_by(sessions.c.sequence)
        .with_for_update(skip_locked=True)
    )
    emptied = (
        select(sessions.c.sequence)
        .where(*doomed, ~exists().where(logs.c.session_id == sessions.c.id))
        .with_for_update(skip_locked=True)
        .params(parameters)
    )
    deleted, are_all = delete_some_logs(connection, of_doomed, **parameters)
    if deleted:
        count_deleted(connection, Datapoints.read(deleted), emptied)
    gone = connection.execute(delete(sessions).where(sessions.c.sequence.in_(emptied)))
    return Deleted(gone.rowcount, len(deleted)), are_all


def delete_some_of_sessions(
    connection: Connection, organisation_id: int, session_ids: Sequence[str]
) -> tuple[Deleted, Sequence[str]]:
    """Delete some datapoints of several sessions, and the sessions that have none left.

    Returns:
        The numbers of deleted records, and the IDs of the sessions that still exist.
    """
    these = (sessions.c.id.in_(session_ids), sessions.c.organisation_id == organisation_id)
    deleted, _ = delete_some_sessions(connection, *these)
    return deleted, connection.scalars(select(sessions.c.id).where(*these)).all()


def delete_some_of_project(connection: Connection, organisation_id: int, project_id: str) -> bool | None:
    """Delete some logs of a project, and after the last of them the project; sessions stay.

    Returns:
        Whether the project is gone; ``None`` if there was none.
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
    """Delete some datapoints of a session, and after the last of them the session.

    Returns:
        Whether the session is gone; ``None`` if there was none.
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
