"""Reads saved answers of ``GET /logs``, ``/sessions`` and ``/projects`` of v4; all IDs stay the same."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from hl_sessions.server.humanloop.fields import (
    add_to_metadata,
    columns_and_rest,
    described,
    moment,
    name_of,
    reference,
    without_secrets,
)
from hl_sessions.server.humanloop.found import (
    Datapoint,
    Judgment,
    Project,
    Record,
    Session,
    UnreadableError,
)
from hl_sessions.server.humanloop.identity import Identities
from hl_sessions.server.protocol.identifiers import FEEDBACK, LOG, PROJECT, SESSION
from hl_sessions.server.protocol.requests import LogFeedback
from hl_sessions.server.protocol.values import LogId, ProjectId, SessionId

_PLACED: Final = (
    *("id", "reference_id", "project", "project_id", "session_id", "session_reference_id", "parent_id"),
    *("parent_reference_id", "config", "config_id", "feedback", "created_at", "updated_at"),
    "observability_status",
)
_TOLD_OF_SESSIONS: Final = {
    "reference_id": str,
    "name": str,
    "user": str,
    "metadata": dict,
    "previous_id": str,
}
_IDS: Final[dict[str, TypeAdapter[str]]] = {
    LOG: TypeAdapter(LogId),
    PROJECT: TypeAdapter(ProjectId),
    SESSION: TypeAdapter(SessionId),
}
_FEEDBACK: Final = TypeAdapter(LogFeedback)


def records_of(page: object) -> list[Any]:
    """Return the records of a page.

    Raises:
        UnreadableError: When the value is no page.
    """
    records = page.get("records") if isinstance(page, dict) else None
    if not isinstance(records, list):
        raise UnreadableError("this is no page of an answer: it has no 'records'")
    return records


def is_log(record: object) -> bool:
    """Tell whether a record is a datapoint."""
    return isinstance(record, dict) and str(record.get("id")).startswith(LOG)


def read_record(record: object, identities: Identities) -> Iterator[Record]:
    """Yield the records in an entry of a page: a project, a session, or a datapoint with its feedback.

    Raises:
        UnreadableError: When the entry is none of them.
    """
    id_ = record.get("id") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(id_, str):
        raise UnreadableError("a record has no 'id'")
    if id_.startswith(PROJECT):
        yield Project(_checked(PROJECT, id_), name_of(record.get("name")), moment(record.get("created_at")))
    elif id_.startswith(SESSION):
        told: dict[str, Any] = {
            name: record[name]
            for name, kind in _TOLD_OF_SESSIONS.items()
            if isinstance(record.get(name), kind)
        }
        told["ended_at"] = moment(record.get("ended_at"))
        yield Session(_checked(SESSION, id_), _began(record), told)
    elif id_.startswith(LOG):
        yield from _read_log(record, identities)
    else:
        raise UnreadableError(f"a record is neither of {PROJECT!r} nor of {SESSION!r} nor of {LOG!r}")


def _read_log(record: dict[str, Any], identities: Identities) -> Iterator[Datapoint | Judgment]:
    log_id = _checked(LOG, record["id"])
    began = _began(record)
    columns, rest = columns_and_rest(record, _PLACED)
    columns["reference_id"] = reference(record.get("reference_id"))
    config, config_id = record.get("config"), record.get("config_id")
    named = config_id or (config.get("id") if isinstance(config, dict) else None)
    columns["config_id"] = config_id if isinstance(config_id, str) else None
    columns["config"] = described(config, str(named))
    if columns["config"] is None:
        rest["config"] = without_secrets(config)
        columns["config"] = described(None, str(named))
    add_to_metadata(columns, rest)
    session_id, parent_id = record.get("session_id"), record.get("parent_id")
    project_id = record.get("project_id")
    yield Datapoint(
        id=log_id,
        project=Project(
            None if project_id is None else _checked(PROJECT, project_id),
            name_of(record.get("project"), project_id),
        ),
        session=None
        if session_id is None
        else Session(
            _checked(SESSION, session_id),
            began,
            {"reference_id": reference(record.get("session_reference_id"))},
        ),
        parent_id=None if parent_id is None else _checked(LOG, parent_id),
        created_at=began,
        columns=columns,
    )
    for number, given in enumerate(record.get("feedback") or ()):
        try:
            feedback = _FEEDBACK.validate_python(given)
        except ValidationError:
            raise UnreadableError("the 'feedback' of a datapoint is none") from None
        own_id = given.get("id") if isinstance(given, dict) else None
        yield Judgment(
            id=own_id if isinstance(own_id, str) else identities.derive(FEEDBACK, f"{log_id} {number}"),
            log_id=log_id,
            columns={
                "type": feedback.type,
                "value": feedback.value,
                "user": feedback.user,
                "created_at": feedback.created_at or began,
            },
        )


def _began(record: Mapping[str, Any]) -> datetime:
    found = moment(record.get("created_at")) or moment(record.get("updated_at"))
    return found or datetime.now(timezone.utc)


def _checked(prefix: str, value: object) -> str:
    try:
        return _IDS[prefix].validate_python(value, strict=True)
    except ValidationError:
        raise UnreadableError(f"an ID is none of {prefix!r}") from None
