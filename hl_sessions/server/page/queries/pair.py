"""Two datapoints to compare, and the others to choose from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select

from hl_sessions.server.database.tables import logs
from hl_sessions.server.page.prices import Prices
from hl_sessions.server.page.queries.datapoints import Datapoint, read_datapoints

_MOST_OF_SESSION: Final = 100
_MOST_OF_PROJECT: Final = 20
_LOOKED_AT: Final = 500
"""The number of datapoints of the project, the newest ones, in which others of the source are looked for."""


@dataclass(frozen=True)
class Other:
    """A datapoint of the same source.

    Args:
        id: Its ID.
        created_at: The time at which it was logged.
        sequence: Its place in the order of arrival.
        is_of_session: Whether it is in the same session.
    """

    id: str
    created_at: datetime
    sequence: int
    is_of_session: bool


@dataclass(frozen=True)
class Pair:
    """Two datapoints to compare.

    Args:
        one: The datapoint that is compared.
        other: The datapoint that it is compared with; ``None`` when its source has no other one.
        others: The others of its source, those of its session first.
    """

    one: Datapoint
    other: Datapoint | None
    others: Sequence[Other]

    @property
    def in_order(self) -> tuple[Datapoint, ...]:
        """The datapoints, the older one first."""
        pair = [self.one] if self.other is None else [self.one, self.other]
        return tuple(sorted(pair, key=lambda datapoint: (datapoint["created_at"], datapoint["sequence"])))


def read_pair(
    connection: Connection, organisation_id: int, log_id: str, other_id: str | None, prices: Prices
) -> Pair | None:
    """Read a datapoint and another one; ``None`` when the organisation does not have both.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        log_id: The ID of the datapoint.
        other_id: The ID of the other one; ``None``: the one of its source before it, or else after it.
        prices: The prices of models.
    """
    one = _read_one(connection, organisation_id, log_id, prices)
    if one is None:
        return None
    others = _find_others(connection, one)
    if other_id is None:
        other_id = _nearest(one, others)
        if other_id is None:
            return Pair(one, None, others)
    other = _read_one(connection, organisation_id, other_id, prices)
    return None if other is None else Pair(one, other, others)


def _read_one(connection: Connection, organisation_id: int, log_id: str, prices: Prices) -> Datapoint | None:
    conditions = [logs.c.id == log_id, logs.c.organisation_id == organisation_id]
    datapoints, _ = read_datapoints(connection, conditions, 1, prices)
    return datapoints[0] if datapoints else None


def _find_others(connection: Connection, one: Datapoint) -> list[Other]:
    source, session_id = one["source"], one["session_id"]
    columns = (logs.c.id, logs.c.created_at, logs.c.sequence)
    newest_first = (logs.c.created_at.desc(), logs.c.sequence.desc())
    of_project = logs.c.project_id == one["project_id"]
    query = select(*columns).where(
        logs.c.session_id == session_id, of_project, logs.c.source.is_not_distinct_from(source)
    )
    rows = connection.execute(query.order_by(*newest_first).limit(_MOST_OF_SESSION)) if session_id else ()
    others = [Other(*row, is_of_session=True) for row in rows]
    newest = (
        select(*columns, logs.c.source).where(of_project).order_by(*newest_first).limit(_LOOKED_AT).subquery()
    )
    query = (
        select(newest.c.id, newest.c.created_at, newest.c.sequence)
        .where(newest.c.source.is_not_distinct_from(source))
        .order_by(newest.c.created_at.desc(), newest.c.sequence.desc())
        .limit(_MOST_OF_PROJECT)
    )
    known = {other.id for other in others}
    others += [Other(*row, is_of_session=False) for row in connection.execute(query) if row.id not in known]
    return [other for other in others if other.id != one["id"]]


def _nearest(one: Datapoint, others: Sequence[Other]) -> str | None:
    near = [other for other in others if other.is_of_session] or others
    # The newest ones come first.
    position = (one["created_at"], one["sequence"])
    before = [other.id for other in near if (other.created_at, other.sequence) < position]
    candidates = before or [other.id for other in near[::-1]]
    return candidates[0] if candidates else None
