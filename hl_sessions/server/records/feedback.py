"""Feedback in the database: what somebody thought of a datapoint."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, RowMapping, delete, insert, select

from hl_sessions.server.database.tables import feedback, logs
from hl_sessions.server.protocol.identifiers import FEEDBACK, new_identifier
from hl_sessions.server.protocol.requests import FeedbackRequest, LogFeedback
from hl_sessions.server.records.refusals import InvalidEntryError


def create_feedback(
    connection: Connection, organisation_id: int, requests: Sequence[FeedbackRequest]
) -> list[dict[str, Any]]:
    """Store the feedback, or take back what is to be unset.

    Returns:
        The feedback that was stored or taken back, in the order of the requests.

    Raises:
        InvalidEntryError: When a datapoint is not there, or nothing is there to be unset.
    """
    now = datetime.now(timezone.utc)
    return [
        _unset_feedback(connection, index, request)
        if request.unset
        else add_feedback(connection, request.data_id, request, now)
        for index, request in enumerate(_checked(connection, organisation_id, requests))
    ]


def add_feedback(
    connection: Connection, log_id: str, given: LogFeedback | FeedbackRequest, now: datetime
) -> dict[str, Any]:
    """Store one feedback on a log that is there, and answer it."""
    values = feedback_values(log_id, given, now)
    connection.execute(insert(feedback).values(values))
    return _answer(values)


def feedback_values(log_id: str, given: LogFeedback | FeedbackRequest, now: datetime) -> dict[str, Any]:
    """Give the row of one new feedback."""
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


def _checked(
    connection: Connection, organisation_id: int, requests: Sequence[FeedbackRequest]
) -> Sequence[FeedbackRequest]:
    for index, request in enumerate(requests):
        query = select(logs.c.id).where(
            logs.c.id == request.data_id, logs.c.organisation_id == organisation_id
        )
        if connection.scalar(query) is None:
            raise InvalidEntryError(index, "data_id", "There is no such datapoint")
    return requests


def _unset_feedback(connection: Connection, index: int, request: FeedbackRequest) -> dict[str, Any]:
    query = (
        select(feedback)
        .where(feedback.c.log_id == request.data_id, feedback.c.type == request.type)
        .order_by(feedback.c.sequence.desc())
    )
    for row in connection.execute(query).mappings():
        # Compared here, not in the database, since not every one compares JSON; and as JSON, since to Python
        # true is 1.
        is_wanted = request.value is None or to_json(request.value) == to_json(row["value"])
        if is_wanted and request.user in {None, row["user"]}:
            connection.execute(delete(feedback).where(feedback.c.id == row["id"]))
            return _answer(row)
    raise InvalidEntryError(index, "unset", "There is no such feedback to unset")


def _answer(row: RowMapping | dict[str, Any]) -> dict[str, Any]:
    answer = {name: row[name] for name in ("id", "type", "value", "created_at")}
    answer["data_id"] = row["log_id"]
    if row["user"] is not None:
        answer["user"] = row["user"]
    return answer
