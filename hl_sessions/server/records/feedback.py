"""Feedback in the database: what somebody thought of a datapoint."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timezone
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, RowMapping, delete, insert, select

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import feedback, logs
from hl_sessions.server.protocol.identifiers import FEEDBACK, new_identifier
from hl_sessions.server.protocol.requests import FeedbackRequest, LogFeedback
from hl_sessions.server.records.refusals import InvalidEntryError


def create_feedback(
    connection: Connection, organisation_id: int, requests: Sequence[FeedbackRequest]
) -> list[dict[str, Any]] | InvalidEntryError:
    """Store the feedback, or take back what is to be unset.

    Returns:
        The feedback that was stored or taken back, in the order of the requests. Or what is wrong, when a
        datapoint is not there, or nothing is there to be unset; then nothing is stored or taken back.
    """
    now = datetime.now(timezone.utc)
    known_logs = _lock_logs(connection, organisation_id, {request.data_id for request in requests})
    there = _feedback_rows(connection, {request.data_id for request in requests if request.unset})
    added: dict[str, dict[str, Any]] = {}
    taken_back: list[str] = []
    answers = []
    for index, request in enumerate(requests):
        if request.data_id not in known_logs:
            return InvalidEntryError(index, "data_id", "There is no such datapoint")
        of_log = there[request.data_id]
        if request.unset:
            row = next((row for row in reversed(of_log) if _is_meant(row, request)), None)
            if row is None:
                return InvalidEntryError(index, "unset", "There is no such feedback to unset")
            of_log.remove(row)
            if added.pop(row["id"], None) is None:
                taken_back.append(row["id"])
        else:
            row = feedback_values(request.data_id, request, now)
            of_log.append(row)
            added[row["id"]] = row
        answers.append(_answer(row))
    for some in in_parts(taken_back):
        connection.execute(delete(feedback).where(feedback.c.id.in_(some)))
    if added:
        insert_rows(connection, feedback, list(added.values()))
    return answers


def add_feedback(
    connection: Connection, log_id: str, given: LogFeedback | FeedbackRequest, now: datetime
) -> dict[str, Any]:
    """Store one feedback on a log that is there, and answer it."""
    values = feedback_values(log_id, given, now)
    connection.execute(insert(feedback).values(values))
    return _answer(values)


def feedback_values(log_id: str, given: LogFeedback | FeedbackRequest, now: datetime) -> dict[str, Any]:
    """Return the row of one new feedback."""
    return {
        "id": new_identifier(FEEDBACK),
        "log_id": log_id,
        "type": given.type,
        "value": given.value,
        "user": given.user,
        "created_at": given.created_at or now,
    }


def feedback_of(connection: Connection, log_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Answer the feedback of each log that has any, in the order of its arrival."""
    query = select(feedback).where(feedback.c.log_id.in_(log_ids)).order_by(feedback.c.sequence)
    answers: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        answers[row["log_id"]].append(_answer(row))
    return answers


def _lock_logs(connection: Connection, organisation_id: int, log_ids: Collection[str]) -> set[str]:
    """Return which of these datapoints there are, and let nobody else unset feedback on them meanwhile."""
    known: set[str] = set()
    for some in in_parts(sorted(log_ids)):
        query = (
            select(logs.c.id)
            .where(logs.c.id.in_(some), logs.c.organisation_id == organisation_id)
            .order_by(logs.c.id)
            .with_for_update(key_share=True)
        )
        known.update(connection.scalars(query))
    return known


def _feedback_rows(connection: Connection, log_ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for some in in_parts(sorted(log_ids)):
        query = select(feedback).where(feedback.c.log_id.in_(some)).order_by(feedback.c.sequence)
        for row in connection.execute(query).mappings():
            rows[row["log_id"]].append(dict(row))
    return rows


def _is_meant(row: dict[str, Any], request: FeedbackRequest) -> bool:
    # Compared here, not in the database, since not every one compares JSON; and as JSON, since to Python
    # true is 1.
    is_wanted = request.value is None or to_json(request.value) == to_json(row["value"])
    return is_wanted and row["type"] == request.type and request.user in {None, row["user"]}


def _answer(row: RowMapping | dict[str, Any]) -> dict[str, Any]:
    answer = {name: row[name] for name in ("id", "type", "value", "created_at")}
    answer["data_id"] = row["log_id"]
    if row["user"] is not None:
        answer["user"] = row["user"]
    return answer
