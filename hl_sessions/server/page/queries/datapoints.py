"""Datapoints, as they were logged."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from hl_sessions.server.database.tables import feedback, logs, projects
from hl_sessions.server.page.queries.rating import RATER, RATING


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
        tokens: int | None = sum_of(self["prompt_tokens"], self["output_tokens"])
        return tokens

    @property
    def cost(self) -> float | None:
        """What it cost in dollars, if that was logged."""
        cost: float | None = sum_of(self["prompt_cost"], self["output_cost"])
        return cost

    @property
    def rating(self) -> Any:
        """The rating that was given on the page, or ``None``."""
        return next((given.value for given in reversed(self.feedback) if given.is_from_page), None)


def read_datapoints(
    connection: Connection, conditions: Sequence[ColumnElement[bool]], limit: int
) -> list[Datapoint]:
    """Read the oldest datapoints for which all of the conditions are true, ``limit`` of them at most."""
    query = (
        select(logs, projects.c.name.label("project_name"))
        .join(projects, projects.c.id == logs.c.project_id)
        .where(*conditions)
        .order_by(logs.c.created_at, logs.c.sequence)
        .limit(limit)
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


def sum_of(*values: Any) -> Any:
    """Add up those of the values that were logged; without any, there is no sum."""
    given = [value for value in values if value is not None]
    return sum(given) if given else None
