"""Feedback that a reader gives on the page: one value of each type, which the next one replaces."""

from collections.abc import Mapping
from datetime import datetime, timezone
from math import isfinite
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete

from hl_sessions.server.database.tables import feedback
from hl_sessions.server.protocol.feedback_types import FeedbackType, problem_with
from hl_sessions.server.protocol.requests import LogFeedback
from hl_sessions.server.protocol.values import Judgment
from hl_sessions.server.records.feedback import Subject, feedback_values, insert_feedback
from hl_sessions.server.records.feedback_creation import KnownSubject, lock_subjects
from hl_sessions.server.records.refusals import UnknownSubjectError
from hl_sessions.server.records.sessions import touch_sessions


class UnfitFeedbackError(Exception):
    """Feedback that a subject cannot have; the message names the allowed values."""


def give(
    connection: Connection,
    organisation_id: int,
    reader: str | None,
    on: Subject,
    texts: Mapping[str, str],
) -> KnownSubject | UnknownSubjectError | UnfitFeedbackError:
    """Replace the reader's feedback on a datapoint or a session.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        reader: The name of the reader, if known.
        on: The datapoint or the session.
        texts: The new values by type, as typed; an empty text takes the earlier value back.

    Returns:
        The subject of the feedback; or the reason why nothing has changed.
    """
    known = lock_subjects(connection, organisation_id, [on]).get(on)
    if known is None:
        return UnknownSubjectError(on.kind, on.id)
    values: dict[str, Judgment] = {}
    for name, text in texts.items():
        if not text:
            continue
        if name not in known.types:
            return UnfitFeedbackError(f"type: {name!r} is none of: {', '.join(known.types)}")
        values[name] = _read(known.types[name], text)
        problem = problem_with(known.types[name], values[name])
        if problem is not None:
            return UnfitFeedbackError(f"value: {problem}")
    now = datetime.now(timezone.utc)
    taken_back = connection.execute(
        delete(feedback).where(feedback.c[on.column] == on.id, feedback.c.type.in_(texts), is_own(reader))
    )
    rows: list[dict[str, Any]] = [
        feedback_values(on, LogFeedback(type=name, value=value, user=reader), now) | {"from_page": True}
        for name, value in values.items()
    ]
    if rows:
        insert_feedback(connection, rows)
    if known.session_id is not None and (rows or taken_back.rowcount):
        touch_sessions(connection, [known.session_id], now)
    return known


def is_own(reader: str | None) -> ColumnElement[bool]:
    """Build the condition that feedback was given on the page by this reader."""
    return feedback.c.from_page.is_(True) & feedback.c.user.is_not_distinct_from(reader)


def _read(wanted: FeedbackType, text: str) -> Judgment:
    """Return the text as a number, if the type wants one; else the text, which may not fit."""
    if "kind" not in wanted:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    if not isfinite(number):
        return text
    return int(number) if number.is_integer() else number
