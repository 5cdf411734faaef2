"""Datapoints as they were logged."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, RowMapping, String, case, select, type_coerce

from hl_sessions.server.database.stored_text import octets_of
from hl_sessions.server.database.tables import feedback, logs, projects
from hl_sessions.server.page.prices import Cost, Prices, compute_cost
from hl_sessions.server.page.queries.cut_values import MAX_SHOWN, LongValues
from hl_sessions.server.protocol.feedback_types import RATING, FeedbackType, types_by_name
from hl_sessions.server.records.labels import label_value
from hl_sessions.server.records.log_parts import VALUES
from hl_sessions.server.records.parts import StoredBytes

_MOST_READ: Final = 32_000_000
"""The bytes of values that are read for one page, to limit its time."""

_OCTETS: Final = "octets_of_"


@dataclass(frozen=True)
class Feedback:
    """Feedback on a datapoint or a session.

    Args:
        type: Its type.
        value: Its value.
        user: The name of its author, if known.
        is_from_page: Whether it was given on the page.
    """

    type: str
    value: Any
    user: str | None
    is_from_page: bool

    def is_of(self, reader: str | None) -> bool:
        """Tell whether this reader has given it on the page, and so can change it there."""
        return self.is_from_page and self.user == reader


@dataclass(frozen=True)
class Datapoint:
    """A datapoint as it was logged.

    Args:
        values: All its columns by name, the missing ones as ``None``; ``duration`` is in seconds.
        project_name: The name of its project.
        feedback_types: The types of feedback that it can have, by their names.
        feedback: The feedback on it, oldest first.
        prices: The prices for its cost, if none was logged.
    """

    values: Mapping[str, Any]
    project_name: str
    feedback_types: Mapping[str, FeedbackType]
    feedback: Sequence[Feedback]
    prices: Prices

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def name(self) -> str:
        """Its name: the step that logged it, or else its project."""
        return label_value(self["source"] or self.project_name)

    @property
    def model(self) -> str | None:
        """The model that was called, if there was one."""
        model: str | None = (self["config"] or {}).get("model")
        return label_value(model) if isinstance(model, str) else model

    @property
    def tokens(self) -> int | None:
        """The number of input and output tokens, if it was logged."""
        tokens: int | None = sum_of(self["prompt_tokens"], self["output_tokens"])
        return tokens

    @property
    def cost(self) -> Cost | None:
        """Its cost, if it was logged or can be computed."""
        logged: float | None = sum_of(self["prompt_cost"], self["output_cost"])
        if logged is not None:
            return Cost(logged)
        return Cost.of(
            None, compute_cost(self.prices, self.model, self["prompt_tokens"], self["output_tokens"])
        )

    @property
    def rating(self) -> Any:
        """The latest rating that was given on the page, or ``None``."""
        ratings = (
            given.value for given in reversed(self.feedback) if given.is_from_page and given.type == RATING
        )
        return next(ratings, None)


def read_datapoints(
    connection: Connection, conditions: Sequence[ColumnElement[bool]], limit: int, prices: Prices
) -> tuple[list[Datapoint], bool]:
    """Read the oldest datapoints that meet all conditions, with their long values cut.

    Args:
        connection: The connection of the transaction.
        conditions: The conditions.
        limit: The greatest number of datapoints; large ones are fewer.
        prices: The prices of models.

    Returns:
        The datapoints, and whether there are more.
    """
    query = (
        select(*_columns(), projects.c.name.label("project_name"), projects.c.feedback_types)
        .join(projects, projects.c.id == logs.c.project_id)
        .where(*conditions)
        .order_by(logs.c.created_at, logs.c.sequence)
        .limit(limit + 1)
    )
    found = connection.execute(query).mappings().all()
    rows = found[: _fitting(found[:limit])]
    feedback_of = read_feedback(connection, "log_id", [row["id"] for row in rows])
    long_values = LongValues(connection)
    datapoints = [
        Datapoint(
            _values(row, long_values),
            row["project_name"],
            types_by_name([row["feedback_types"]]),
            feedback_of[row["id"]],
            prices,
        )
        for row in rows
    ]
    return datapoints, len(found) > len(rows)


def read_feedback(
    connection: Connection, column: Literal["log_id", "session_id"], ids: Sequence[str]
) -> Mapping[str, Sequence[Feedback]]:
    """Read the feedback on each of these datapoints or sessions, oldest first."""
    feedback_of: dict[str, list[Feedback]] = defaultdict(list)
    given = (
        select(feedback)
        .where(feedback.c[column].in_(ids))
        .order_by(feedback.c.created_at, feedback.c.sequence)
    )
    for row in connection.execute(given).mappings():
        feedback_of[row[column]].append(
            Feedback(row["type"], row["value"], row["user"], bool(row["from_page"]))
        )
    return feedback_of


def read_ids(connection: Connection, conditions: Sequence[ColumnElement[bool]], limit: int) -> list[str]:
    """Read the IDs of the datapoints that ``read_datapoints`` would return."""
    octets = (octets_of(logs.c[name]).label(_OCTETS + name) for name in VALUES)
    query = (
        select(logs.c.id, *octets)
        .where(*conditions)
        .order_by(logs.c.created_at, logs.c.sequence)
        .limit(limit)
    )
    rows = connection.execute(query).mappings().all()
    return [row["id"] for row in rows[: _fitting(rows)]]


def _columns() -> Iterator[ColumnElement[Any]]:
    for column in logs.c:
        if str(column.name) in VALUES:
            octets = octets_of(column)
            yield octets.label(_OCTETS + column.name)
            yield type_coerce(case((octets <= MAX_SHOWN, column)), column.type).label(column.name)
        else:
            yield column


def _fitting(rows: Sequence[RowMapping]) -> int:
    """Return how many of the datapoints are shown on one page: at least one."""
    total = 0
    for count, row in enumerate(rows):
        total += sum(row[_OCTETS + name] or 0 for name in VALUES)
        if count > 0 and total > _MOST_READ:
            return count
    return len(rows)


def _values(row: RowMapping, long_values: LongValues) -> Mapping[str, Any]:
    values = {str(name): value for name, value in row.items() if not name.startswith(_OCTETS)}
    for name in VALUES:
        octets = row[_OCTETS + name]
        if octets is not None and octets > MAX_SHOWN:
            stored = StoredBytes(row["sequence"], row["updated_at"], name, 0, octets)
            is_text = isinstance(logs.c[name].type, String)
            values[name] = long_values.read_text(stored) if is_text else long_values.read_json(stored)
    return values


def sum_of(*values: Any) -> Any:
    """Add up the values that were logged; ``None`` without any."""
    given = [value for value in values if value is not None]
    return sum(given) if given else None
