"""Feedback on datapoints and sessions in the database."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, select

from hl_sessions.server.database.tables import feedback
from hl_sessions.server.protocol.identifiers import FEEDBACK, new_identifier
from hl_sessions.server.protocol.requests import FeedbackRequest, LogFeedback

_SUBJECTS: Final = {"log_id": "data_id", "session_id": "session_id"}
"""The names that the protocol has for the columns of the subject of feedback."""


class Subject(NamedTuple):
    """The subject of feedback: the column that refers to it, and its ID."""

    column: Literal["log_id", "session_id"]
    id: str

    @property
    def kind(self) -> str:
        """The kind of the subject: ``datapoint`` or ``session``."""
        return "datapoint" if self.column == "log_id" else "session"


def feedback_values(on: Subject, given: LogFeedback | FeedbackRequest, now: datetime) -> dict[str, Any]:
    """Return the row of one new feedback."""
    return {
        "id": new_identifier(FEEDBACK),
        on.column: on.id,
        "type": given.type,
        "value": given.value,
        "user": given.user,
        "created_at": given.created_at or now,
    }


def feedback_on(
    connection: Connection, column: Literal["log_id", "session_id"], ids: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the feedback on each of the logs or sessions that has any, in the order of its arrival."""
    query = select(feedback).where(feedback.c[column].in_(ids)).order_by(feedback.c.sequence)
    answers: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        answers[row[column]].append(answer_feedback(row))
    return answers


def answer_feedback(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the answer for the feedback in a row."""
    answer = {name: row[name] for name in ("id", "type", "value", "created_at")}
    for column, name in _SUBJECTS.items():
        if row.get(column) is not None:
            answer[name] = row[column]
    if row["user"] is not None:
        answer["user"] = row["user"]
    return answer
