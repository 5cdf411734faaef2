"""The rating that a click on the page gives a datapoint: feedback of a type and a user of its own."""

from datetime import datetime, timezone
from typing import Final

from sqlalchemy import Connection, delete, select

from hl_sessions.server.database.tables import feedback, logs
from hl_sessions.server.protocol.requests import LogFeedback
from hl_sessions.server.records.feedback import add_feedback
from hl_sessions.server.records.sessions import touch_sessions

RATING: Final = "rating"
"""The type of the feedback that is given with a click."""

RATER: Final = "page"
"""Who gives it, so that a click takes back or replaces no rating that somebody has logged."""

RATINGS: Final = ("good", "bad", "none")
"""What a click can mean; the last one takes back an earlier one."""


def rate(connection: Connection, organisation_id: int, log_id: str, value: str) -> str | None:
    """Replace the rating of a datapoint by one of ``RATINGS``.

    Returns:
        The ID of its session, or ``None`` when the organisation has no such datapoint, or it has no session.
    """
    session_id: str | None = connection.scalar(
        select(logs.c.session_id)
        .where(logs.c.id == log_id, logs.c.organisation_id == organisation_id)
        # Of two clicks at once the second one finds what the first one has left.
        .with_for_update(key_share=True)
    )
    if session_id is None:
        return None
    of_page = (feedback.c.log_id == log_id, feedback.c.type == RATING, feedback.c.user == RATER)
    connection.execute(delete(feedback).where(*of_page))
    now = datetime.now(timezone.utc)
    if value != "none":
        add_feedback(connection, log_id, LogFeedback(type=RATING, value=value, user=RATER), now)
    touch_sessions(connection, [session_id], now)
    return session_id
