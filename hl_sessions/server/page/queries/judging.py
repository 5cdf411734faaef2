"""The queue of sessions to be judged: neither they nor their datapoints have a rating."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, false, func, select, true

from hl_sessions.server.database.tables import feedback, logs, sessions
from hl_sessions.server.finding.filters import Cursor, SessionFilter
from hl_sessions.server.finding.session_search import find_sessions
from hl_sessions.server.page.queries.giving import UnfitFeedbackError, give, is_own
from hl_sessions.server.protocol.feedback_types import NOTE, RATING
from hl_sessions.server.records.feedback import Subject
from hl_sessions.server.records.feedback_creation import lock_subjects
from hl_sessions.server.records.refusals import UnknownSubjectError

MOST_COUNTED: Final = 100
"""The number of sessions up to which the queue is counted."""

# Aliases, because a search has the same tables around it.
_logs = logs.alias("logs_of_judged")
_feedback = feedback.alias("feedback_of_judged")


def _there_is(found: Select[bool], *around: FromClause) -> ColumnElement[bool]:
    # Not as EXISTS, which PostgreSQL would turn into a join that reads all feedback, not only that of a few
    # sessions.
    return func.coalesce(found.limit(1).correlate(*around).scalar_subquery(), false())


def _has_rating(subject: ColumnElement[bool], around: FromClause) -> ColumnElement[bool]:
    return _there_is(select(true()).where(subject, _feedback.c.type == RATING), around)


def _has_log(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return _there_is(select(true()).where(_logs.c.session_id == sessions.c.id, *conditions), sessions)


NOT_JUDGED: Final = and_(
    _has_log(),
    ~_has_rating(_feedback.c.session_id == sessions.c.id, sessions),
    ~_has_log(_has_rating(_feedback.c.log_id == _logs.c.id, _logs)),
)
"""The conditions on a session that has datapoints and has not been judged."""


@dataclass(frozen=True)
class Left:
    """The rest of the queue.

    Args:
        count: The number of sessions, up to ``MOST_COUNTED``: this one, unless it was judged, and those after
            it.
        are_more: Whether there are more.
        is_judged: Whether this one was judged.
    """

    count: int
    are_more: bool
    is_judged: bool


def find_next(
    connection: Connection, organisation_id: int, wanted: SessionFilter, cursor: Cursor
) -> str | None:
    """Return the ID of the next session to be judged.

    Raises:
        UnknownCursorError: When the session of the cursor does not exist.
    """
    ids = find_sessions(connection, organisation_id, wanted, cursor, 1, NOT_JUDGED).ids
    return ids[0] if ids else None


def count_left(connection: Connection, organisation_id: int, session_id: str, wanted: SessionFilter) -> Left:
    """Count the rest of the queue, from a session on.

    Raises:
        UnknownCursorError: When the organisation has no such session.
    """
    behind = find_sessions(
        connection, organisation_id, wanted, Cursor(before=session_id), MOST_COUNTED - 1, NOT_JUDGED
    )
    is_judged = _is_judged(connection, session_id)
    return Left(len(behind.ids) + (not is_judged), behind.has_older, is_judged)


def judge(
    connection: Connection,
    organisation_id: int,
    reader: str | None,
    session_id: str,
    *,
    rating: str,
    note: str,
    is_first: bool,
) -> bool | UnknownSubjectError | UnfitFeedbackError:
    """Store the reader's rating and note on a session, unless another reader was faster.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        reader: The name of the reader, if known.
        session_id: The ID of the session.
        rating: The rating; empty if the reader skips the session.
        note: A note; empty for none.
        is_first: Whether the session had not been judged when the reader saw it.

    Returns:
        Whether the rating was stored, if there is one; a note always is. Or the reason why nothing has
        changed.
    """
    on = Subject("session_id", session_id)
    lock_subjects(connection, organisation_id, [on])
    is_late = bool(rating) and is_first and _is_judged(connection, session_id)
    if is_late and rating == _own_rating(connection, reader, session_id):
        # The same form has arrived twice.
        is_late = False
    texts = {NOTE: note}
    if rating and not is_late:
        texts[RATING] = rating
    given = give(connection, organisation_id, reader, on, texts)
    return given if isinstance(given, Exception) else not is_late


def _own_rating(connection: Connection, reader: str | None, session_id: str) -> object:
    query = select(feedback.c.value).where(
        feedback.c.session_id == session_id, feedback.c.type == RATING, is_own(reader)
    )
    return connection.scalar(query)


def _is_judged(connection: Connection, session_id: str) -> bool:
    return connection.scalar(select(sessions.c.id).where(sessions.c.id == session_id, NOT_JUDGED)) is None
