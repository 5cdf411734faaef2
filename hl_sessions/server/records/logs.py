"""Logs, the datapoints, in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Connection, delete, select, update

from hl_sessions.server.database.search_index import note_changes
from hl_sessions.server.database.tables import logs, projects, sessions
from hl_sessions.server.protocol.paging import Page
from hl_sessions.server.protocol.requests import UpdateLogRequest
from hl_sessions.server.records.counts import count_deleted
from hl_sessions.server.records.idempotency import IdempotencyKey, make_once
from hl_sessions.server.records.log_filter import LogFilter
from hl_sessions.server.records.log_parts import parts_of_each_log, parts_of_log, parts_of_logs
from hl_sessions.server.records.log_search import find_logs
from hl_sessions.server.records.parts import Part, parts_of_page, read_on
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

_LogName: TypeAlias = tuple[int, str, str]
"""The ID of an organisation, what the log is named by, and its name."""


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

    @property
    def named(self) -> _LogName:
        """The log that it is about."""
        return self.organisation_id, self.by, self.name


def update_logs(
    connection: Connection, given: Sequence[tuple[IdempotencyKey | None, LogUpdate]]
) -> list[list[Part] | Exception | None]:
    """Change logs, unless that was done before, and answer the parts of each, as it is now.

    Args:
        connection: The connection of the transaction.
        given: The changes, each with the key of its request, if it has one.

    Returns:
        Of each request the parts of the log; ``None`` of a log that is not there.
    """
    updates = [update for _, update in given]
    locked = {**_lock_logs(connection, updates, "id"), **_lock_logs(connection, updates, "reference_id")}
    outcomes = make_once(partial(_change, locked), connection, given)
    found = [
        locked.get(update.named) if outcome is True else None
        for update, outcome in zip(updates, outcomes, strict=True)
    ]
    parts_of = parts_of_each_log(connection, sorted({log.sequence for log in found if log is not None}))
    return [
        outcome if isinstance(outcome, Exception) else None if log is None else parts_of[log.sequence]
        for outcome, log in zip(outcomes, found, strict=True)
    ]


def _change(
    locked: Mapping[_LogName, Any], connection: Connection, updates: Sequence[LogUpdate]
) -> list[Literal[True] | None]:
    """Change logs, and tell of each whether it is there: all that is kept, as a log may be long."""
    now = datetime.now(timezone.utc)
    found = [locked.get(update.named) for update in updates]
    for log, given in zip(found, updates, strict=True):
        if log is not None:
            values = given.request.model_dump(exclude_none=True, exclude=None if log.save else PAYLOADS)
            connection.execute(update(logs).where(logs.c.id == log.id).values(**values, updated_at=now))
    note_changes(connection, [log.sequence for log in found if log is not None])
    touch_sessions(connection, {log.session_id for log in found if log is not None} - {None}, now)
    return [None if log is None else True for log in found]


def _lock_logs(
    connection: Connection, updates: Sequence[LogUpdate], by: Literal["id", "reference_id"]
) -> Mapping[_LogName, Any]:
    names = {one.name for one in updates if one.by == by}
    if not names:
        return {}
    query = (
        select(
            *(logs.c.id, logs.c.sequence, logs.c.organisation_id, logs.c.session_id, logs.c.save),
            logs.c[by].label("name"),
        )
        .where(logs.c[by].in_(names), logs.c.organisation_id.in_({one.organisation_id for one in updates}))
        .order_by(logs.c.id)
        .with_for_update(key_share=True)
    )
    return {(row.organisation_id, by, row.name): row for row in connection.execute(query)}


def get_log(connection: Connection, organisation_id: int, log_id: str) -> list[Part] | None:
    """Answer the log of the organisation with this ID, in parts, or ``None``."""
    parts = parts_of_log(connection, logs.c.id == log_id, logs.c.organisation_id == organisation_id)
    return None if parts is None else read_on(connection, parts)


def list_logs(
    connection: Connection, organisation_id: int, project_id: str, wanted: LogFilter, page: Page
) -> list[Part] | None:
    """Answer one page of the wanted logs of the project, newest first, in parts.

    Returns:
        The page, or ``None`` when the organisation has no such project.
    """
    if not project_exists(connection, organisation_id, project_id):
        return None
    conditions = [logs.c.project_id == project_id, *wanted.conditions()]
    counted = select(projects.c.datapoints_count).where(projects.c.id == project_id)
    if wanted.texts:
        datapoints = connection.scalar(counted) or 0
        found = find_logs(connection, project_id, wanted, page.most_counted, datapoints)
        if found is not None:
            parts = parts_of_logs(connection, page.part_of(found))
            return read_on(connection, parts_of_page(page, parts, len(found)))
    query = select(logs.c.sequence).where(*conditions)
    newest_first = query.order_by(logs.c.created_at.desc(), logs.c.sequence.desc())
    sequences = connection.scalars(page.of(newest_first)).all()
    total = page.count_at_end(sequences)
    if total is None:
        total = connection.scalar(counted if len(conditions) == 1 else page.counting(query)) or 0
    return read_on(connection, parts_of_page(page, parts_of_logs(connection, sequences), total))


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
