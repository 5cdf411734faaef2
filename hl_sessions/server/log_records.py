"""Logs, the datapoints, in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, select, update

from hl_sessions.server.feedback_records import add_feedback, feedback_of
from hl_sessions.server.identifiers import CONFIG, LOG, new_identifier
from hl_sessions.server.invalid_entry import InvalidEntryError
from hl_sessions.server.log_filter import LogFilter
from hl_sessions.server.pages import Page
from hl_sessions.server.project_records import find_or_create_project, project_exists
from hl_sessions.server.session_records import find_or_create_session, session_exists, touch_session
from hl_sessions.server.tables import logs, projects, sessions
from hl_sessions.server.wire import LogRequest, UpdateLogRequest
from hl_sessions.server.wire_configs import described_config

_PAYLOADS: Final = {
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
class _Place:
    organisation_id: int
    project_id: str
    session_id: str | None
    parent_id: str | None


def create_logs(
    connection: Connection, organisation_id: int, requests: Sequence[LogRequest]
) -> list[dict[str, str]]:
    """Store the logs, and the projects and sessions that they are the first to name.

    Returns:
        The IDs of each log, of its project and, if it has one, its session, in the order of the requests.

    Raises:
        InvalidEntryError: When a log refers to what is not there, or its reference ID is taken.
    """
    now = datetime.now(timezone.utc)
    # All places first: a log cannot be the parent of another one in the same request.
    places = [
        _find_place(connection, organisation_id, index, request, now)
        for index, request in enumerate(requests)
    ]
    return [
        _create_log(connection, index, request, place, now)
        for index, (request, place) in enumerate(zip(requests, places, strict=True))
    ]


def update_log(
    connection: Connection, organisation_id: int, condition: ColumnElement[bool], request: UpdateLogRequest
) -> dict[str, Any] | None:
    """Change the log for which ``condition`` is true, and answer the whole of it, or ``None`` without one."""
    query = select(logs.c.id, logs.c.session_id, logs.c.save).where(
        condition, logs.c.organisation_id == organisation_id
    )
    log = connection.execute(query).one_or_none()
    if log is None:
        return None
    now = datetime.now(timezone.utc)
    values = request.model_dump(exclude_none=True, exclude=None if log.save else _PAYLOADS)
    connection.execute(update(logs).where(logs.c.id == log.id).values(**values, updated_at=now))
    if log.session_id is not None:
        touch_session(connection, log.session_id, now)
    return get_log(connection, organisation_id, log.id)


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
    query = _described_logs().where(*conditions).order_by(logs.c.created_at.desc(), logs.c.sequence.desc())
    total = connection.scalar(select(func.count()).select_from(logs).where(*conditions)) or 0
    return page.answer(_read(connection, page.of(query)), total)


def delete_logs(connection: Connection, organisation_id: int, log_ids: Sequence[str]) -> bool:
    """Delete the logs with all of these IDs and their feedback; what was nested under them stays.

    Returns:
        Whether the organisation has a log with each of the IDs. If not, none is deleted.
    """
    wanted = logs.c.id.in_(log_ids) & (logs.c.organisation_id == organisation_id)
    found = connection.execute(select(logs.c.id, logs.c.session_id).where(wanted)).all()
    if len(found) < len(set(log_ids)):
        return False
    connection.execute(delete(logs).where(wanted))
    now = datetime.now(timezone.utc)
    for session_id in {log.session_id for log in found} - {None}:
        touch_session(connection, session_id, now)
    return True


def _find_place(
    connection: Connection, organisation_id: int, index: int, request: LogRequest, now: datetime
) -> _Place:
    project_id = _find_project(connection, organisation_id, index, request, now)
    session_id = _find_session(connection, organisation_id, index, request)
    if request.parent_id is not None:
        field, condition = "parent_id", logs.c.id == request.parent_id
    elif request.parent_reference_id is not None:
        field, condition = "parent_reference_id", logs.c.reference_id == request.parent_reference_id
    else:
        return _Place(organisation_id, project_id, session_id, None)
    parent = connection.execute(
        select(logs.c.id, logs.c.session_id).where(condition, logs.c.organisation_id == organisation_id)
    ).one_or_none()
    if parent is None:
        raise InvalidEntryError(index, field, "There is no such datapoint")
    if session_id not in {None, parent.session_id}:
        raise InvalidEntryError(index, field, "The parent is not in the session of this datapoint")
    return _Place(organisation_id, project_id, parent.session_id, parent.id)


def _find_project(
    connection: Connection, organisation_id: int, index: int, request: LogRequest, now: datetime
) -> str:
    if request.project_id is not None:
        name = connection.scalar(
            select(projects.c.name).where(
                projects.c.id == request.project_id, projects.c.organisation_id == organisation_id
            )
        )
        if name is None:
            raise InvalidEntryError(index, "project_id", "There is no such project")
        if request.project not in {None, name}:
            raise InvalidEntryError(index, "project", "The project with this ID has another name")
        return request.project_id
    if request.project is not None:
        return find_or_create_project(connection, organisation_id, request.project, now)
    raise InvalidEntryError(index, "project", "One of 'project' and 'project_id' is required")


def _find_session(
    connection: Connection, organisation_id: int, index: int, request: LogRequest
) -> str | None:
    if request.session_reference_id is not None:
        return find_or_create_session(connection, organisation_id, request.session_reference_id)
    if request.session_id is not None and not session_exists(connection, organisation_id, request.session_id):
        raise InvalidEntryError(index, "session_id", "There is no such session")
    return request.session_id


def _create_log(
    connection: Connection, index: int, request: LogRequest, place: _Place, now: datetime
) -> dict[str, str]:
    if request.reference_id is not None and connection.scalar(
        select(logs.c.id).where(
            logs.c.organisation_id == place.organisation_id, logs.c.reference_id == request.reference_id
        )
    ):
        raise InvalidEntryError(index, "reference_id", "Another datapoint has this reference ID")
    save = request.save is not False
    not_stored = {"project", "session_reference_id", "parent_reference_id", "config", "feedback"}
    values = request.model_dump(exclude_none=True, exclude=not_stored if save else not_stored | _PAYLOADS)
    values |= {
        "id": new_identifier(LOG),
        "organisation_id": place.organisation_id,
        "project_id": place.project_id,
        "session_id": place.session_id,
        "parent_id": place.parent_id,
        "created_at": request.created_at or now,
        "updated_at": now,
        "save": save,
        "config": described_config(request.config, request.config_id or new_identifier(CONFIG)),
    }
    connection.execute(insert(logs).values(values))
    for given in request.feedback or ():
        add_feedback(connection, values["id"], given, now)
    created = {"id": values["id"], "project_id": place.project_id}
    if place.session_id is not None:
        touch_session(connection, place.session_id, now)
        created["session_id"] = place.session_id
    return created


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
        {name: value for name, value in row.items() if value is not None}
        | ({"feedback": feedback[row["id"]]} if row["id"] in feedback else {})
        # No evaluators run here, so there is nothing to wait for.
        | {"evaluation_results": [], "observability_status": "completed"}
        for row in rows
    ]
