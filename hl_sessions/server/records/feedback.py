"""Feedback on datapoints and sessions in the database."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from zlib import crc32

from sqlalchemy import BindParameter, Connection, bindparam, select, update

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import feedback, json_for_database, logs, session_totals, sessions
from hl_sessions.server.protocol.identifiers import FEEDBACK, new_identifier
from hl_sessions.server.protocol.requests import FeedbackRequest, LogFeedback
from hl_sessions.server.records.labels import BITS

_SUBJECTS: Final = {"log_id": "data_id", "session_id": "session_id"}
"""The names that the protocol has for the columns of the subject of feedback."""

_WANTED: Final[BindParameter[Any]] = bindparam("wanted", expanding=True)
_SESSIONS: Final = {
    "log_id": select(logs.c.id, sessions.c.sequence)
    .join_from(logs, sessions, sessions.c.id == logs.c.session_id)
    .where(logs.c.id.in_(_WANTED)),
    "session_id": select(sessions.c.id, sessions.c.sequence).where(sessions.c.id.in_(_WANTED)),
}
_NOTE: Final = (
    update(session_totals)
    .where(session_totals.c.session_sequence == bindparam("session"))
    .values(feedback=session_totals.c.feedback.bitwise_or(bindparam("bits")))
)


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


def insert_feedback(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert at least one feedback, and note in the totals of its session that it may have such feedback.

    What is noted stays when feedback is taken back, so it only rules out sessions.
    """
    insert_rows(connection, feedback, rows)
    bits_of: dict[int, int] = defaultdict(int)
    for column, query in _SESSIONS.items():
        on: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            if row.get(column) is not None:
                on[row[column]].append(row)
        for some in in_parts(sorted(on)):
            for id_, sequence in connection.execute(query, {"wanted": some}):
                for row in on[id_]:
                    bits_of[sequence] |= feedback_bit(row["type"])
                    bits_of[sequence] |= feedback_bit(row["type"], json_for_database(row["value"]))
    if bits_of:
        # In the order in which others lock them: see ``records.counts``.
        noted = [{"session": sequence, "bits": bits} for sequence, bits in sorted(bits_of.items())]
        connection.execute(_NOTE, noted)


def feedback_bit(kind: str, value: str | None = None) -> int:
    """Return the bit of feedback in the totals of sessions; others may share it.

    Args:
        kind: The type of the feedback.
        value: Its value as JSON; ``None``: any value.
    """
    name = kind if value is None else f"{kind}={value}"
    return 1 << crc32(name.encode()) % BITS


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
