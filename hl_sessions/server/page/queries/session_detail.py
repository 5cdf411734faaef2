"""One session with its datapoints, as they were logged."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Float, cast, func, literal, select, tuple_

from hl_sessions.server.database.tables import feedback, logs, projects, sessions
from hl_sessions.server.page.queries.session_list import ListedSession, describe_sessions

SIZE: Final = 100
"""How many datapoints are shown at a time."""

RATING: Final = "rating"
"""The type of the feedback that is given with a click."""

RATER: Final = "page"
"""Who gives it, so that a click takes back or replaces no rating that somebody has logged."""


@dataclass(frozen=True)
class Feedback:
    """What somebody thought of a datapoint, as it was logged."""

    type: str
    value: Any
    user: str | None
    created_at: datetime

    @property
    def is_from_page(self) -> bool:
        """Whether it was given with a click on the page."""
        return (self.type, self.user) == (RATING, RATER)


@dataclass(frozen=True)
class Datapoint:
    """A datapoint, as it was logged.

    Args:
        values: All its columns by name, the missing ones as ``None``; ``duration`` is in seconds.
        project_name: The name of its project.
        feedback: What people thought of it, the oldest first.
    """

    values: Mapping[str, Any]
    project_name: str
    feedback: Sequence[Feedback]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def name(self) -> str:
        """What the datapoint is called: the step that logged it, or else its project."""
        return self["source"] or self.project_name

    @property
    def model(self) -> str | None:
        """The model that was called, if there was one."""
        model: str | None = (self["config"] or {}).get("model")
        return model

    @property
    def tokens(self) -> int | None:
        """How many tokens went in and came out, if that was logged."""
        tokens: int | None = _sum_of(self["prompt_tokens"], self["output_tokens"])
        return tokens

    @property
    def cost(self) -> float | None:
        """What it cost in dollars, if that was logged."""
        cost: float | None = _sum_of(self["prompt_cost"], self["output_cost"])
        return cost

    @property
    def rating(self) -> Any:
        """The rating that was given on the page, or ``None``."""
        return next((given.value for given in reversed(self.feedback) if given.is_from_page), None)


@dataclass(frozen=True)
class SessionDetail:
    """A session with a part of its datapoints.

    Args:
        session: What the list shows of it.
        updated_at: When something in it has changed last.
        prompt_tokens: How many tokens went in, if that was logged.
        output_tokens: How many came out.
        cost: What all its datapoints cost in dollars.
        datapoints: A part of its datapoints, the oldest first.
        has_earlier: Whether there are datapoints before these.
        has_later: Whether there are datapoints after these.
    """

    session: ListedSession
    updated_at: datetime
    prompt_tokens: int | None
    output_tokens: int | None
    cost: float | None
    datapoints: Sequence[Datapoint]
    has_earlier: bool
    has_later: bool


def read_session(
    connection: Connection, organisation_id: int, session_id: str, after: str | None
) -> SessionDetail | None:
    """Read a session with a part of its datapoints.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        session_id: The ID of the session.
        after: The ID of the datapoint after which the part begins; ``None``: it is the first part.

    Returns:
        The session, or ``None`` when the organisation has no such session, or that no such datapoint.
    """
    updated_at = _updated_at(connection, organisation_id, session_id)
    if updated_at is None:
        return None
    of_session = [logs.c.session_id == session_id]
    sums = connection.execute(
        select(
            # As floats, since a sum of integers may be larger than an integer of the database.
            func.sum(cast(logs.c.prompt_tokens, Float)).label("prompt_tokens"),
            func.sum(cast(logs.c.output_tokens, Float)).label("output_tokens"),
            func.sum(logs.c.prompt_cost).label("prompt_cost"),
            func.sum(logs.c.output_cost).label("output_cost"),
        ).where(*of_session)
    ).one()
    if after is not None:
        position = _position_of(connection, session_id, after)
        if position is None:
            return None
        of_session.append(position)
    datapoints = _read_datapoints(connection, of_session)
    (listed,) = describe_sessions(connection, [session_id])
    return SessionDetail(
        session=listed,
        updated_at=updated_at,
        prompt_tokens=_whole(sums.prompt_tokens),
        output_tokens=_whole(sums.output_tokens),
        cost=_sum_of(sums.prompt_cost, sums.output_cost),
        datapoints=datapoints[:SIZE],
        has_earlier=after is not None,
        has_later=len(datapoints) > SIZE,
    )


def read_version(connection: Connection, organisation_id: int, session_id: str) -> str | None:
    """Give a text that changes whenever something in the session does; ``None`` without such a session."""
    updated_at = _updated_at(connection, organisation_id, session_id)
    return None if updated_at is None else updated_at.isoformat()


def _updated_at(connection: Connection, organisation_id: int, session_id: str) -> datetime | None:
    query = select(sessions.c.updated_at).where(
        sessions.c.id == session_id, sessions.c.organisation_id == organisation_id
    )
    updated_at: datetime | None = connection.scalar(query)
    return updated_at


def _position_of(connection: Connection, session_id: str, after: str) -> ColumnElement[bool] | None:
    key = (logs.c.created_at, logs.c.sequence)
    row = connection.execute(
        select(*key).where(logs.c.id == after, logs.c.session_id == session_id)
    ).one_or_none()
    if row is None:
        return None
    values = (literal(value, column.type) for value, column in zip(row, key, strict=True))
    return tuple_(*key) > tuple_(*values)


def _read_datapoints(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> list[Datapoint]:
    query = (
        select(logs, projects.c.name.label("project_name"))
        .join(projects, projects.c.id == logs.c.project_id)
        .where(*conditions)
        .order_by(logs.c.created_at, logs.c.sequence)
        .limit(SIZE + 1)
    )
    rows = connection.execute(query).mappings().all()
    feedback_of: dict[str, list[Feedback]] = defaultdict(list)
    given = (
        select(feedback)
        .where(feedback.c.log_id.in_([row["id"] for row in rows]))
        .order_by(feedback.c.created_at, feedback.c.sequence)
    )
    for row in connection.execute(given):
        feedback_of[row.log_id].append(Feedback(row.type, row.value, row.user, row.created_at))
    return [Datapoint(dict(row), row["project_name"], feedback_of[row["id"]]) for row in rows]


def _sum_of(*values: Any) -> Any:
    given = [value for value in values if value is not None]
    return sum(given) if given else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
