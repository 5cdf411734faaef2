"""The queue of the sessions that nobody has judged: neither they nor their datapoints have a rating."""

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
"""Up to how many sessions are counted."""

# Aliases: a search has the same tables around it.
_logs = logs.alias("logs_of_judged")
_feedback = feedback.alias("feedback_of_judged")


def _there_is(found: Select[bool], *around: FromClause) -> ColumnElement[bool]:
    # Not as EXISTS, which PostgreSQL would make a join of: it reads all feedback, rather than that of a few.
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
"""What is true of a session that has something to be judged, and was not."""


@dataclass(frozen=True)
class Left:
    """What is left of the queue.

    Args:
        count: How many sessions, up to ``MOST_COUNTED``: this one, unless it was judged, and those after it.
        are_more: Whether there are more.
        is_judged: Whether this one was judged.
    """

    count: int
    are_more: bool
    is_judged: bool


def find_next(
    connection: Connection, organisation_id: int, wanted: SessionFilter, cursor: Cursor
) -> str | None:
    """Find the session that is next to be judged, and return its ID.

    Raises:
        UnknownCursorError: When the session of the cursor is not there.
    """
    ids = find_sessions(connection, organisation_id, wanted, cursor, 1, NOT_JUDGED).ids
    return ids[0] if ids else None


def count_left(connection: Connection, organisation_id: int, session_id: str, wanted: SessionFilter) -> Left:
    """Count what is left of the queue from a session on.

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
    """Keep what a reader thinks of a session, unless somebody else was faster.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        reader: The name of the reader, if there is one.
        session_id: The ID of the session.
        rating: The rating; empty: the reader passes on.
        note: A note; empty: there is to be none.
        is_first: Whether the reader saw a session that was not judged.

    Returns:
        Whether the rating was kept, if there is one; a note is, in any case. Or why nothing has changed.
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
