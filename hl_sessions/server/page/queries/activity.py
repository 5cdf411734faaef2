"""Counts and latencies over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, literal, select, union_all

from hl_sessions.server.database.tables import logs, projects, sessions
from hl_sessions.server.page.queries.percentiles import percentiles

SAMPLE: Final = 200
"""The number of datapoints of a span, the newest ones, whose latencies are used."""


@dataclass(frozen=True)
class Window:
    """A period of time up to now.

    Args:
        name: Its name in the address of the page.
        label: Its name on the page.
        span: The time that one bar of the chart stands for.
        spans: The number of bars.
    """

    name: str
    label: str
    span: timedelta
    spans: int

    def begins(self, now: datetime) -> list[datetime]:
        """Return the start of each span and the end of the last one: round times, the last around now."""
        seconds = self.span.total_seconds()
        epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
        end = epoch + timedelta(seconds=(now - epoch).total_seconds() // seconds * seconds) + self.span
        return [end - self.span * count for count in range(self.spans, -1, -1)]


WINDOWS: Final = (
    Window("1h", "1 hour", timedelta(minutes=2), 30),
    Window("24h", "24 hours", timedelta(minutes=30), 48),
    Window("7d", "7 days", timedelta(hours=4), 42),
    Window("30d", "30 days", timedelta(days=1), 30),
)


@dataclass(frozen=True)
class Span:
    """The activity in one span of time.

    Args:
        begin: The start of the span.
        sessions: The number of sessions that began.
        datapoints: The number of logged datapoints.
        errors: The number of those with an error.
        median: The duration in seconds that half of a sample of them did not exceed; ``None`` without
            durations.
        slowest: The duration that 95 % of the sample did not exceed.
    """

    begin: datetime
    sessions: int
    datapoints: int
    errors: int
    median: float | None
    slowest: float | None


def read_activity(
    connection: Connection,
    organisation_id: int,
    project_id: str | None,
    begins: Sequence[datetime],
) -> list[Span]:
    """Count the activity in the spans between consecutive times.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        project_id: The project whose datapoints are counted; ``None``: all.
        begins: The start of each span, and the end of the last one.
    """
    spans = list(pairwise(begins))
    of_reader = select(projects.c.id).where(projects.c.organisation_id == organisation_id)
    if project_id is not None:
        of_reader = of_reader.where(projects.c.id == project_id)
    # By project, like the index of datapoints by time.
    wanted = [logs.c.project_id.in_(of_reader)]
    session_counts = _counts(connection, spans, sessions, [sessions.c.organisation_id == organisation_id])
    datapoint_counts = _counts(connection, spans, logs, wanted)
    error_counts = _counts(connection, spans, logs, [*wanted, logs.c.error.is_not(None)])
    durations = _durations(connection, spans, wanted)
    return [
        Span(
            begin=begin,
            sessions=session_counts[index],
            datapoints=datapoint_counts[index],
            errors=error_counts[index],
            median=median,
            slowest=slowest,
        )
        for index, (begin, _) in enumerate(spans)
        for median, slowest in [percentiles(durations[index], 0.5, 0.95)]
    ]


def _counts(
    connection: Connection,
    spans: Sequence[tuple[datetime, datetime]],
    table: Any,
    conditions: Sequence[ColumnElement[bool]],
) -> Sequence[int]:
    # One statement, in which each count reads its own range of an index.
    counts = [
        select(func.count())
        .select_from(table)
        .where(*conditions, table.c.created_at >= begin, table.c.created_at < end)
        .scalar_subquery()
        .label(f"span_{index}")
        for index, (begin, end) in enumerate(spans)
    ]
    return connection.execute(select(*counts)).one()


def _durations(
    connection: Connection,
    spans: Sequence[tuple[datetime, datetime]],
    conditions: Sequence[ColumnElement[bool]],
) -> list[list[float]]:
    samples = []
    for index, (begin, end) in enumerate(spans):
        # Chosen in the index alone, so that only these datapoints are read.
        newest = (
            select(logs.c.sequence)
            .where(*conditions, logs.c.created_at >= begin, logs.c.created_at < end)
            .order_by(logs.c.created_at.desc())
            .limit(SAMPLE)
        )
        samples.append(
            select(literal(index), logs.c.duration).where(
                logs.c.sequence.in_(newest), logs.c.duration.is_not(None)
            )
        )
    durations: list[list[float]] = [[] for _ in spans]
    for index, duration in connection.execute(union_all(*samples)):
        durations[index].append(duration)
    return durations
