"""Logs, the datapoints, in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final, Literal

from sqlalchemy import Connection, Select, delete, select, update

from hl_sessions.server.database.search_index import note_changes
from hl_sessions.server.database.tables import logs, projects, sessions
from hl_sessions.server.protocol.messages import answered_message
from hl_sessions.server.protocol.paging import Page
from hl_sessions.server.protocol.requests import UpdateLogRequest
from hl_sessions.server.records.counts import count_deleted
from hl_sessions.server.records.feedback import feedback_of
from hl_sessions.server.records.log_filter import LogFilter
from hl_sessions.server.records.log_search import find_logs
from hl_sessions.server.records.projects import project_exists
from hl_sessions.server.records.sessions import touch_sessions

PAYLOADS: Final = {
    "inputs",
    "messages",
    "output",
    "output_message",
    "judgment",
    "error",
    "stdout",
    "provider_request",
    "provider_response",
}
"""What went into the model and came out of it: not stored of a datapoint logged with ``save: false``."""


@dataclass(frozen=True)
class LogUpdate:
    """A change to one log.

    Args:
        organisation_id: Whose log.
        by: What the log is named by.
        name: Its name.
        request: The change.
    """

    organisation_id: int
    by: Literal["id", "reference_id"]
    name: str
    request: UpdateLogRequest


def update_logs(connection: Connection, updates: Sequence[LogUpdate]) -> list[dict[str, Any] | None]:
    """Change logs, and answer the whole of each, or ``None`` of one that is not there."""
    now = datetime.now(timezone.utc)
    locked = {**_lock_logs(connection, updates, "id"), **_lock_logs(connection, updates, "reference_id")}
    found = [locked.get((one.organisation_id, one.by, one.name)) for one in updates]
    for log, given in zip(found, updates, strict=True):
        if log is not None:
            values = given.request.model_dump(exclude_none=True, exclude=None if log.save else PAYLOADS)
            connection.execute(update(logs).where(logs.c.id == log.id).values(**values, updated_at=now))
    note_changes(connection, [log.sequence for log in found if log is not None])
    touch_sessions(connection, {log.session_id for log in found if log is not None} - {None}, now)
    query = _described_logs().where(logs.c.id.in_({log.id for log in found if log is not None}))
    changed = {log["id"]: log for log in _read(connection, query)}
    return [None if log is None else changed[log.id] for log in found]


def _lock_logs(
    connection: Connection, updates: Sequence[LogUpdate], by: Literal["id", "reference_id"]
) -> Mapping[tuple[int, str, str], Any]:
    names = {one.name for one in updates if one.by == by}
    if not names:
        return {}
    query = (
        select(
            logs.c.sequence,
            logs.c.id,
            logs.c.organisation_id,
            logs.c[by].label("name"),
            logs.c.session_id,
            logs.c.save,
        )
        .where(logs.c[by].in_(names), logs.c.organisation_id.in_({one.organisation_id for one in updates}))
        .order_by(logs.c.id)
        .with_for_update(key_share=True)
    )
    return {(row.organisation_id, by, row.name): row for row in connection.execute(query)}


def get_log(connection: Connection, organisation_id: int, log_id: str) -> dict[str, Any] | None:
    """Answer the log of the organisation with this ID, or ``None``."""
    query = _described_logs().where(logs.c.id == log_id, logs.c.organisation_id == organisation_id)
    records = _read(connection, query)
    return records[0] if records else None


def list_logs(
    connection: Connection, organisation_id: int, project_id: str, wanted: LogFilter, page: Page
) -> dict[str, Any] | None:
    """Answer one page of the wanted logs of the project, newest first.

    Returns:
        The page, or ``None`` when the organisation has no such project.
    """
    if not project_exists(connection, organisation_id, project_id):
        return None
    conditions = [logs.c.project_id == project_id, *wanted.conditions()]
    query = _described_logs().order_by(logs.c.created_at.desc(), logs.c.sequence.desc())
    counted = select(projects.c.datapoints_count).where(projects.c.id == project_id)
    found = None
    if wanted.texts:
        found = find_logs(connection, project_id, wanted, page.most_counted, connection.scalar(counted) or 0)
    if found is not None:
        records = _read(connection, query.where(logs.c.sequence.in_(page.part_of(found))))
        return page.answer(records, len(found))
    records = _read(connection, page.of(query.where(*conditions)))
    total = page.count_at_end(records)
    if total is None:
        counting = page.counting(select(logs.c.sequence).where(*conditions))
        total = connection.scalar(counted if len(conditions) == 1 else counting) or 0
    return page.answer(records, total)


def delete_logs(connection: Connection, organisation_id: int, log_ids: Sequence[str]) -> bool:
    """Delete the logs with all of these IDs and their feedback; what was nested under them stays.

    Returns:
        Whether the organisation has a log with each of the IDs. If not, none is deleted.
    """
    wanted = logs.c.id.in_(log_ids) & (logs.c.organisation_id == organisation_id)
    query = (
        select(logs.c.project_id, logs.c.session_id, sessions.c.sequence)
        .outerjoin(sessions, sessions.c.id == logs.c.session_id)
        .where(wanted)
        .order_by(logs.c.sequence)
        .with_for_update(of=logs)
    )
    found = connection.execute(query).all()
    if len(found) < len(set(log_ids)):
        return False
    connection.execute(delete(logs).where(wanted))
    touched = {log.session_id for log in found} - {None}
    touch_sessions(connection, touched, datetime.now(timezone.utc))
    count_deleted(connection, [(log.project_id, log.sequence) for log in found])
    return True


def _described_logs() -> Select[Any]:
    parents = logs.alias("parents")
    return (
        select(
            *(column for column in logs.c if column.name not in {"sequence", "organisation_id"}),
            projects.c.name.label("project"),
            sessions.c.reference_id.label("session_reference_id"),
            parents.c.reference_id.label("parent_reference_id"),
        )
        .select_from(logs)
        .join(projects, projects.c.id == logs.c.project_id)
        .outerjoin(sessions, sessions.c.id == logs.c.session_id)
        .outerjoin(parents, parents.c.id == logs.c.parent_id)
    )


def _read(connection: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    rows = connection.execute(query).mappings().all()
    feedback = feedback_of(connection, [row["id"] for row in rows])
    return [
        _answered({name: value for name, value in row.items() if value is not None})
        | ({"feedback": feedback[row["id"]]} if row["id"] in feedback else {})
        # No evaluators run here, so there is nothing to wait for.
        | {"evaluation_results": [], "observability_status": "completed"}
        for row in rows
    ]


def _answered(log: dict[str, Any]) -> dict[str, Any]:
    if "messages" in log:
        log["messages"] = [answered_message(message) for message in log["messages"]]
    if "output_message" in log:
        log["output_message"] = answered_message(log["output_message"])
    return log
