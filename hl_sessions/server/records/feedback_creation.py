"""Stores new feedback, and takes feedback back."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from sqlalchemy import Connection, delete, select

from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import feedback, logs, project_sessions, projects, sessions
from hl_sessions.server.protocol.feedback_types import (
    BUILT_IN_NAMES,
    FeedbackType,
    problem_with,
    types_by_name,
)
from hl_sessions.server.protocol.requests import FeedbackRequest
from hl_sessions.server.records.feedback import (
    Subject,
    answer_feedback,
    feedback_values,
    insert_feedback,
)
from hl_sessions.server.records.refusals import InvalidEntryError, UnknownSubjectError
from hl_sessions.server.records.sessions import touch_sessions

_NAMES: Final = ("data_id", "reference_id", "session_id")
"""The fields of which a request names its subject by one."""


class KnownSubject(NamedTuple):
    """An existing subject of feedback.

    Args:
        session_id: The session that changes with the feedback, if there is one.
        types: The types of feedback on the subject, by their names.
    """

    session_id: str | None
    types: Mapping[str, FeedbackType]


def create_feedback(
    connection: Connection, organisation_id: int, requests: Sequence[FeedbackRequest]
) -> list[dict[str, Any]] | InvalidEntryError | UnknownSubjectError:
    """Store feedback, or take it back for requests with ``unset``.

    Returns:
        The feedback that was stored or taken back, in the order of the requests; or the problem: a request
        that contradicts itself, an unknown subject, a value that does not fit, or nothing to take back. In
        that case nothing was changed.
    """
    now = datetime.now(timezone.utc)
    added: dict[str, dict[str, Any]] = {}
    taken_back: list[str] = []
    answers = []
    try:
        log_ids = _find_by_reference(connection, organisation_id, requests)
        given = [(_subject_of(index, request, log_ids), request) for index, request in enumerate(requests)]
        known = lock_subjects(connection, organisation_id, {on for on, _ in given})
        there = _rows_on(connection, {on for on, request in given if request.unset})
        for index, (on, request) in enumerate(given):
            _check(index, on, known.get(on), request)
            if request.unset:
                row = _take_back(index, there[on], request)
                if added.pop(row["id"], None) is None:
                    taken_back.append(row["id"])
            else:
                row = feedback_values(on, request, now)
                there[on].append(row)
                added[row["id"]] = row
            answers.append(answer_feedback(row))
    except (InvalidEntryError, UnknownSubjectError) as error:
        return error
    for some in in_parts(taken_back):
        connection.execute(delete(feedback).where(feedback.c.id.in_(some)))
    if added:
        insert_feedback(connection, list(added.values()))
    touch_sessions(connection, {one.session_id for one in known.values() if one.session_id}, now)
    return answers


def lock_subjects(
    connection: Connection, organisation_id: int, subjects: Collection[Subject]
) -> dict[Subject, KnownSubject]:
    """Return those of these subjects that exist, and lock them against other changes of feedback."""
    log_ids = sorted(on.id for on in subjects if on.column == "log_id")
    session_ids = {on.id for on in subjects if on.column == "session_id"}
    found_logs: list[Any] = []
    for some in in_parts(log_ids):
        query = (
            select(logs.c.id, logs.c.session_id, logs.c.project_id)
            .where(logs.c.id.in_(some), logs.c.organisation_id == organisation_id)
            .order_by(logs.c.id)
            .with_for_update(key_share=True)
        )
        found_logs += connection.execute(query)
    touched = session_ids | {log.session_id for log in found_logs if log.session_id is not None}
    found_sessions: list[Any] = []
    for some in in_parts(sorted(touched)):
        # With the sessions of the datapoints, which are changed later: all transactions lock sessions in one
        # order.
        query = (
            select(sessions.c.id, sessions.c.sequence)
            .where(sessions.c.id.in_(some), sessions.c.organisation_id == organisation_id)
            .order_by(sessions.c.id)
            .with_for_update(key_share=True)
        )
        found_sessions += connection.execute(query)
    types_of_projects = _types_of_projects(connection, {log.project_id for log in found_logs})
    known = {
        Subject("log_id", log.id): KnownSubject(log.session_id, types_of_projects[log.project_id])
        for log in found_logs
    }
    types_of_sessions = types_of_each_session(
        connection, [row.sequence for row in found_sessions if row.id in session_ids]
    )
    for row in found_sessions:
        if row.id in session_ids:
            known[Subject("session_id", row.id)] = KnownSubject(row.id, types_of_sessions[row.sequence])
    return known


def types_of_each_session(
    connection: Connection, sequences: Sequence[int]
) -> dict[int, Mapping[str, FeedbackType]]:
    """Return the types of feedback on sessions, which are those of the projects of their datapoints."""
    defined: dict[int, list[Any]] = {sequence: [] for sequence in sequences}
    for some in in_parts(sorted(sequences)):
        query = (
            select(project_sessions.c.session_sequence, projects.c.feedback_types)
            .join(projects, projects.c.id == project_sessions.c.project_id)
            .where(project_sessions.c.session_sequence.in_(some), projects.c.feedback_types.is_not(None))
            .order_by(projects.c.sequence)
        )
        for sequence, types in connection.execute(query):
            defined[sequence].append(types)
    return {sequence: types_by_name(of_projects) for sequence, of_projects in defined.items()}


def _types_of_projects(
    connection: Connection, project_ids: Collection[str]
) -> dict[str, Mapping[str, FeedbackType]]:
    types: dict[str, Mapping[str, FeedbackType]] = {}
    for some in in_parts(sorted(project_ids)):
        query = select(projects.c.id, projects.c.feedback_types).where(projects.c.id.in_(some))
        types |= {row.id: types_by_name([row.feedback_types]) for row in connection.execute(query)}
    return types


def _rows_on(connection: Connection, subjects: Collection[Subject]) -> dict[Subject, list[dict[str, Any]]]:
    rows: dict[Subject, list[dict[str, Any]]] = defaultdict(list)
    for column in ("log_id", "session_id"):
        for some in in_parts(sorted(on.id for on in subjects if on.column == column)):
            query = select(feedback).where(feedback.c[column].in_(some)).order_by(feedback.c.sequence)
            for row in connection.execute(query).mappings():
                rows[Subject(column, row[column])].append(dict(row))
    return rows


def _find_by_reference(
    connection: Connection, organisation_id: int, requests: Sequence[FeedbackRequest]
) -> Mapping[str, str]:
    """Look up the IDs of the datapoints that requests name by their reference IDs."""
    references = {request.reference_id for request in requests if request.reference_id is not None}
    log_ids: dict[str, str] = {}
    for some in in_parts(sorted(references)):
        query = select(logs.c.reference_id, logs.c.id).where(
            logs.c.organisation_id == organisation_id, logs.c.reference_id.in_(some)
        )
        log_ids.update((row.reference_id, row.id) for row in connection.execute(query))
    return log_ids


def _subject_of(index: int, request: FeedbackRequest, log_ids: Mapping[str, str]) -> Subject:
    named = [name for name in _NAMES if getattr(request, name) is not None]
    if len(named) != 1:
        problem = "Exactly one of 'data_id', 'reference_id' and 'session_id' is required"
        raise InvalidEntryError(index, named[-1] if named else "data_id", problem)
    if request.data_id is not None:
        return Subject("log_id", request.data_id)
    if request.session_id is not None:
        return Subject("session_id", request.session_id)
    reference_id = request.reference_id or ""
    if reference_id not in log_ids:
        raise UnknownSubjectError("datapoint with the reference ID", reference_id)
    return Subject("log_id", log_ids[reference_id])


def _check(index: int, on: Subject, known: KnownSubject | None, request: FeedbackRequest) -> None:
    if known is None:
        raise UnknownSubjectError(on.kind, on.id)
    # Clients of v4 use types of feedback of their own. Types that no project has defined allow any value.
    is_free = on.column == "log_id" and request.type in BUILT_IN_NAMES
    if request.unset or is_free:
        return
    problem = problem_with(known.types.get(request.type), request.value)
    if problem is not None:
        raise InvalidEntryError(index, "value", problem)


def _take_back(index: int, rows: list[dict[str, Any]], request: FeedbackRequest) -> dict[str, Any]:
    """Remove the latest row that matches a request from these rows, and return it."""
    for place in reversed(range(len(rows))):
        if _is_meant(rows[place], request):
            return rows.pop(place)
    raise InvalidEntryError(index, "unset", "There is no such feedback to unset")


def _is_meant(row: dict[str, Any], request: FeedbackRequest) -> bool:
    # Compared here, because not every database compares JSON; and compared as JSON, because True == 1 in
    # Python.
    is_wanted = request.value is None or to_json(request.value) == to_json(row["value"])
    return is_wanted and row["type"] == request.type and request.user in {None, row["user"]}
