"""Sums over sessions: datapoints, errors, tokens, dollars, ratings and durations."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Connection, Select, func, select

from hl_sessions.server.database.search_index import is_one_of
from hl_sessions.server.database.tables import feedback, logs, sessions
from hl_sessions.server.finding.filters import SessionFilter
from hl_sessions.server.finding.session_search import matching
from hl_sessions.server.page.prices import Cost, Prices, compute_cost
from hl_sessions.server.page.queries.model_costs import MODEL
from hl_sessions.server.page.queries.percentiles import percentiles
from hl_sessions.server.protocol.feedback_types import RATING
from hl_sessions.server.records.labels import LONGEST_VALUE

MOST_MEASURED: Final = 200_000
"""The number of datapoints after which no more latencies are read."""

MOST_NAMES: Final = 10_000
"""The number of names of a kind that have sums of their own, to limit the memory."""

_FIRST_OUTPUT: Final = logs.c.metadata["time_to_first_output"].as_string()
_NAMES: Final = (
    logs.c.project_id,
    func.substr(MODEL, 1, LONGEST_VALUE),
    func.substr(logs.c.source, 1, LONGEST_VALUE),
)


@dataclass
class Sums:
    """The sums of datapoints.

    Args:
        sessions: The number of their sessions.
        datapoints: Their number.
        errors: The number of those with an error.
        prompt_tokens: The number of input tokens.
        output_tokens: The number of output tokens.
        logged_cost: The logged costs, in dollars.
        computed_cost: The costs of the others, computed from their tokens.
        good: The number of good ratings.
        bad: The number of bad ratings.
        durations: Their durations, in seconds.
        first_outputs: The seconds until the first piece of their output.
    """

    sessions: int = 0
    datapoints: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    logged_cost: float = 0
    computed_cost: float = 0
    good: int = 0
    bad: int = 0
    durations: "array[float]" = field(default_factory=lambda: array("d"))
    first_outputs: "array[float]" = field(default_factory=lambda: array("d"))
    _last_session: int | None = None

    @property
    def cost(self) -> Cost | None:
        """Their cost, if there is one."""
        return Cost.of(self.logged_cost or None, self.computed_cost or None)

    @property
    def duration_percentiles(self) -> list[float | None]:
        """The duration that half of the datapoints did not exceed, and the one that 95 % did not."""
        return percentiles(self.durations, 0.5, 0.95)

    @property
    def first_output_percentiles(self) -> list[float | None]:
        """The same of the times to the first output."""
        return percentiles(self.first_outputs, 0.5, 0.95)

    def count_session(self, sequence: int) -> None:
        """Count a session once; its datapoints are counted one after the other."""
        if sequence != self._last_session:
            self.sessions += 1
            self._last_session = sequence

    def count_rating(self, value: Any) -> None:
        """Count a rating, if it is one of the two that the page gives."""
        self.good += value == "good"
        self.bad += value == "bad"

    def add(self, other: "Sums") -> None:
        """Add the sums of datapoints of other sessions."""
        self.sessions += other.sessions
        self.datapoints += other.datapoints
        self.errors += other.errors
        self.prompt_tokens += other.prompt_tokens
        self.output_tokens += other.output_tokens
        self.logged_cost += other.logged_cost
        self.computed_cost += other.computed_cost
        self.good += other.good
        self.bad += other.bad
        self.durations.extend(other.durations)
        self.first_outputs.extend(other.first_outputs)


NamedSums: TypeAlias = defaultdict[str | None, Sums]
"""Sums by a name; ``None``: of datapoints without one."""


@dataclass
class SessionSums:
    """The sums of sessions, in total and by several kinds.

    Args:
        whole: The sums of all of them.
        measured: The number of datapoints whose latencies are included.
        projects: The sums of datapoints, by the ID of their project.
        models: The same, by the name of the model, cut to its first ``LONGEST_VALUE`` characters.
        sources: The same, by the source, cut likewise.
        hours: The sums of sessions, by the hour in which they began.
    """

    whole: Sums = field(default_factory=Sums)
    measured: int = 0
    projects: NamedSums = field(default_factory=lambda: defaultdict(Sums))
    models: NamedSums = field(default_factory=lambda: defaultdict(Sums))
    sources: NamedSums = field(default_factory=lambda: defaultdict(Sums))
    hours: defaultdict[datetime, Sums] = field(default_factory=lambda: defaultdict(Sums))

    def of_names(self, project_id: str, model: str | None, source: str | None) -> tuple[Sums, ...]:
        """Return the sums that a datapoint belongs to, except for those of an hour."""
        return (
            self.whole,
            self.projects[project_id],
            self.models[model],
            self.sources[source],
        )

    def add(self, other: "SessionSums") -> None:
        """Add the sums of other sessions."""
        self.whole.add(other.whole)
        self.measured += other.measured
        _add_named(self.projects, other.projects)
        _add_named(self.models, other.models)
        _add_named(self.sources, other.sources)
        for hour, sums in other.hours.items():
            self.hours[hour].add(sums)


def _add_named(named: NamedSums, others: NamedSums) -> None:
    for name, sums in others.items():
        if name in named or len(named) < MOST_NAMES:
            named[name].add(sums)


def find_sequences(
    connection: Connection, organisation_id: int, wanted: SessionFilter, since: datetime | None
) -> "array[int]":
    """Find the sequences of all sessions to sum up, newest first.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        wanted: The filter.
        since: The earliest start of a session; ``None``: any.
    """
    query = matching(connection, organisation_id, wanted)
    if since is not None:
        query = query.where(sessions.c.created_at >= since)
    newest_first = (sessions.c.created_at.desc(), sessions.c.sequence.desc())
    return array("q", connection.scalars(query.order_by(*newest_first)))


def sum_up(
    connection: Connection,
    organisation_id: int,
    sequences: Sequence[int],
    prices: Prices,
    *,
    is_measured: bool,
) -> SessionSums:
    """Sum up those of the sessions that still exist.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        sequences: The sequences of the sessions.
        prices: The prices of models.
        is_measured: Whether latencies are included.
    """
    rows = connection.execute(_datapoints_of(organisation_id, sequences))
    sums = SessionSums()
    for session, created_at, *datapoint in rows:
        hour = sums.hours[created_at.replace(minute=0, second=0, microsecond=0)]
        if datapoint[0] is None:
            # A session without datapoints.
            for some in (sums.whole, hour):
                some.count_session(session)
            continue
        project_id, model, source, has_error, went_in, came_out, cost_in, cost_out, *latencies = datapoint
        logged, computed = 0.0, 0.0
        if cost_in is None and cost_out is None:
            computed = compute_cost(prices, model, went_in, came_out) or 0
        else:
            logged = (cost_in or 0) + (cost_out or 0)
        named = sums.of_names(project_id, model, source)
        for some in (*named, hour):
            some.count_session(session)
            some.datapoints += 1
            some.errors += has_error
            some.prompt_tokens += went_in or 0
            some.output_tokens += came_out or 0
            some.logged_cost += logged
            some.computed_cost += computed
        if is_measured:
            sums.measured += 1
            _measure((*named, hour), *latencies)
    for value, *names in connection.execute(_ratings_of(organisation_id, sequences)):
        for some in sums.of_names(*names):
            some.count_rating(value)
    # A session as a whole belongs to no single project, model or source.
    for value in connection.scalars(_ratings_of_sessions(organisation_id, sequences)):
        sums.whole.count_rating(value)
    return sums


def _datapoints_of(organisation_id: int, sequences: Sequence[int]) -> Select[Any]:
    query = select(
        sessions.c.sequence,
        sessions.c.created_at,
        *_NAMES,
        logs.c.error.is_not(None),
        logs.c.prompt_tokens,
        logs.c.output_tokens,
        logs.c.prompt_cost,
        logs.c.output_cost,
        logs.c.duration,
        _FIRST_OUTPUT,
    )
    query = query.outerjoin_from(sessions, logs, logs.c.session_id == sessions.c.id)
    return query.where(*_are(organisation_id, sequences)).order_by(sessions.c.sequence)


def _ratings_of(organisation_id: int, sequences: Sequence[int]) -> Select[Any]:
    query = select(feedback.c.value, *_NAMES).join_from(sessions, logs, logs.c.session_id == sessions.c.id)
    query = query.join(feedback, feedback.c.log_id == logs.c.id)
    return query.where(*_are(organisation_id, sequences), feedback.c.type == RATING)


def _ratings_of_sessions(organisation_id: int, sequences: Sequence[int]) -> Select[Any]:
    query = select(feedback.c.value).join_from(sessions, feedback, feedback.c.session_id == sessions.c.id)
    return query.where(*_are(organisation_id, sequences), feedback.c.type == RATING)


def _are(organisation_id: int, sequences: Sequence[int]) -> tuple[ColumnElement[bool], ...]:
    return sessions.c.organisation_id + 0 == organisation_id, is_one_of(sessions.c.sequence, sequences)


def _measure(all_sums: Iterable[Sums], duration: float | None, first_output: Any) -> None:
    first = _seconds(first_output)
    for sums in all_sums:
        if duration is not None:
            sums.durations.append(duration)
        if first is not None:
            sums.first_outputs.append(first)


def _seconds(value: Any) -> float | None:
    """Return a number of the metadata, which may hold any other value."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if isfinite(seconds) else None
