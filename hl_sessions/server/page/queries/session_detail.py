"""One session with its datapoints, as they were logged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Float, RowMapping, Select, Tuple, cast, func, literal, select, tuple_

from hl_sessions.server.database.tables import logs, sessions
from hl_sessions.server.page.prices import Cost, Prices, compute_cost
from hl_sessions.server.page.queries.chain import Chain, find_chain
from hl_sessions.server.page.queries.datapoints import (
    Datapoint,
    Feedback,
    read_datapoints,
    read_feedback,
    read_ids,
    sum_of,
)
from hl_sessions.server.page.queries.model_costs import HAS_NO_COST, MODEL
from hl_sessions.server.page.queries.session_list import ListedSession, describe_sessions
from hl_sessions.server.protocol.feedback_types import FeedbackType
from hl_sessions.server.records.feedback_creation import types_of_each_session

SIZE: Final = 100
"""The greatest number of datapoints that are shown at a time."""

_ORDER: Final = (logs.c.created_at, logs.c.sequence)


@dataclass(frozen=True)
class SessionDetail:
    """A session with a part of its datapoints.

    Args:
        session: Its row in the list.
        told: The fields that callers have set: ``name``, ``user``, ``metadata``, ``ended_at`` and
            ``previous_id``.
        chain: The sessions of the same conversation before and after it.
        updated_at: The time of the last change in it.
        prompt_tokens: The number of input tokens, if it was logged.
        output_tokens: The number of output tokens.
        cost: The cost of all its datapoints.
        datapoints: A part of its datapoints, oldest first.
        has_earlier: Whether there are datapoints before these.
        has_later: Whether there are datapoints after these.
        feedback_types: The types of feedback that the session can have, by their names.
        feedback: The feedback on the session, oldest first.
    """

    session: ListedSession
    told: RowMapping
    chain: Chain
    updated_at: datetime
    prompt_tokens: int | None
    output_tokens: int | None
    cost: Cost | None
    datapoints: Sequence[Datapoint]
    has_earlier: bool
    has_later: bool
    feedback_types: Mapping[str, FeedbackType]
    feedback: Sequence[Feedback]


@dataclass(frozen=True)
class DatapointPlace:
    """The place where a datapoint is shown.

    Args:
        session_id: The ID of its session; ``None`` when it has none.
        after: The datapoint after which the part of the session begins; ``None``: it is the first part.
        is_nested: Whether it is nested in another one, and so not in the conversation.
    """

    session_id: str | None
    after: str | None = None
    is_nested: bool = False


def place_datapoint(connection: Connection, organisation_id: int, log_id: str) -> DatapointPlace | None:
    """Find the place where a datapoint is shown; ``None`` when the organisation has no such datapoint."""
    row = connection.execute(
        select(logs.c.session_id, logs.c.parent_id).where(
            logs.c.id == log_id, logs.c.organisation_id == organisation_id
        )
    ).one_or_none()
    if row is None:
        return None
    if row.session_id is None:
        return DatapointPlace(None)
    of_session = logs.c.session_id == row.session_id
    after = None
    if log_id not in read_ids(connection, [of_session], SIZE):
        # The part begins with it.
        after = connection.scalar(
            select(logs.c.id)
            .where(of_session, tuple_(*_ORDER) < _position_of(connection, row.session_id, log_id))
            .order_by(*(column.desc() for column in _ORDER))
            .limit(1)
        )
    return DatapointPlace(row.session_id, after, row.parent_id is not None)


def read_session(
    connection: Connection, organisation_id: int, session_id: str, after: str | None, prices: Prices
) -> SessionDetail | None:
    """Read a session with a part of its datapoints.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        session_id: The ID of the session.
        after: The ID of the datapoint after which the part begins; ``None``: it is the first part.
        prices: The prices of models.

    Returns:
        The session; ``None`` when the organisation has no such session, or the session no such datapoint.
    """
    told = connection.execute(_told(organisation_id, session_id)).mappings().one_or_none()
    if told is None:
        return None
    wanted = [logs.c.session_id == session_id]
    if after is not None:
        position = _position_of(connection, session_id, after)
        if position is None:
            return None
        wanted.append(tuple_(*_ORDER) > position)
    datapoints, has_later = read_datapoints(connection, wanted, SIZE, prices)
    sums = _sums_of(connection, session_id)
    (listed,) = describe_sessions(connection, [session_id])
    return SessionDetail(
        session=listed,
        told=told,
        chain=find_chain(connection, organisation_id, session_id, told["previous_id"]),
        updated_at=told["updated_at"],
        prompt_tokens=_whole(sums["prompt_tokens"]),
        output_tokens=_whole(sums["output_tokens"]),
        cost=Cost.of(
            sum_of(sums["prompt_cost"], sums["output_cost"]), _compute_cost(connection, session_id, prices)
        ),
        datapoints=datapoints,
        has_earlier=after is not None,
        has_later=has_later,
        feedback_types=types_of_each_session(connection, [told["sequence"]])[told["sequence"]],
        feedback=read_feedback(connection, "session_id", [session_id])[session_id],
    )


def read_version(connection: Connection, organisation_id: int, session_id: str) -> str | None:
    """Return a text that changes with every change in the session; ``None`` without such a session."""
    told = connection.execute(_told(organisation_id, session_id)).one_or_none()
    return None if told is None else told.updated_at.isoformat()


def _told(organisation_id: int, session_id: str) -> Select[Any]:
    names = ("sequence", "updated_at", "name", "user", "metadata", "ended_at", "previous_id")
    columns = (sessions.c[name] for name in names)
    return select(*columns).where(sessions.c.id == session_id, sessions.c.organisation_id == organisation_id)


def _sums_of(connection: Connection, session_id: str) -> RowMapping:
    query = select(
        # As floats, because a sum of integers may be larger than an integer of the database.
        func.sum(cast(logs.c.prompt_tokens, Float)).label("prompt_tokens"),
        func.sum(cast(logs.c.output_tokens, Float)).label("output_tokens"),
        func.sum(logs.c.prompt_cost).label("prompt_cost"),
        func.sum(logs.c.output_cost).label("output_cost"),
    )
    return connection.execute(query.where(logs.c.session_id == session_id)).mappings().one()


def _compute_cost(connection: Connection, session_id: str, prices: Prices) -> float | None:
    """Compute the cost of the datapoints whose cost was not logged."""
    if not prices:
        return None
    # Grouped by a column of a subquery, because PostgreSQL takes equal expressions with parameters for
    # different ones.
    uncosted = (
        select(MODEL.label("model"), logs.c.prompt_tokens, logs.c.output_tokens)
        .where(logs.c.session_id == session_id, HAS_NO_COST)
        .subquery()
    )
    tokens = (func.sum(cast(uncosted.c[name], Float)) for name in ("prompt_tokens", "output_tokens"))
    query = select(uncosted.c.model, *tokens).group_by(uncosted.c.model)
    cost: float | None = sum_of(*(compute_cost(prices, *row) for row in connection.execute(query)))
    return cost


def _position_of(connection: Connection, session_id: str, log_id: str) -> Tuple | None:
    row = connection.execute(
        select(*_ORDER).where(logs.c.id == log_id, logs.c.session_id == session_id)
    ).one_or_none()
    if row is None:
        return None
    return tuple_(*(literal(value, column.type) for value, column in zip(row, _ORDER, strict=True)))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
