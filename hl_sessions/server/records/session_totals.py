"""Keeps what the datapoints of each session add up to, in the transaction that changes them."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from math import floor
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Insert,
    Row,
    ScalarSelect,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from hl_sessions.server.database.epoch import EpochSeconds
from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import labels, logs, session_labels, session_totals, sessions
from hl_sessions.server.records.labels import BITS_OF, LONGEST_VALUE, LabelName, find_or_create_labels

NANODOLLARS: Final = 10**9
"""How many of them a dollar has."""

_KINDS: Final = tuple(BITS_OF)
_SUMS: Final = ("datapoints", "errors", "tokens", "prompt_tokens", "output_tokens", "nanodollars")
_CLOSE: Final = 1e-3
"""Seconds within which two moments may be the same, whoever has made a number of them."""

MATTERING: Final = frozenset(
    {"error", "duration", "prompt_tokens", "output_tokens", "prompt_cost", "output_cost", "config"}
)
"""The columns of a datapoint that may change, and change the totals of its session."""


class TotalledSession(NamedTuple):
    """A session whose datapoints are added up.

    Args:
        sequence: Its place in the order of arrival.
        organisation_id: Whose it is.
        created_at: When it was made.
    """

    sequence: int
    organisation_id: int
    created_at: datetime


@dataclass(frozen=True)
class Datapoints:
    """Datapoints that are counted.

    Args:
        project_ids: The ID of the project of each.
        sessions: The session of each, if it is in one.
        columns: Their values by the names of the columns, and ``model``; those that none has may be missing.
    """

    project_ids: Sequence[str]
    sessions: Sequence[TotalledSession | None]
    columns: Mapping[str, Sequence[Any]]

    @classmethod
    def read(cls, rows: Sequence[Any]) -> "Datapoints":
        """Return those of rows that have ``COUNTED``."""
        return cls(
            [row.project_id for row in rows],
            [
                None
                if row.session_sequence is None
                else TotalledSession(row.session_sequence, row.organisation_id, row.session_created_at)
                for row in rows
            ],
            {name: [getattr(row, name) for row in rows] for name in _READ},
        )


_READ: Final = (
    *("created_at", "duration", "error", "prompt_tokens", "output_tokens", "prompt_cost", "output_cost"),
    *_KINDS,
)


COUNTED: Final = (
    logs.c.sequence,
    logs.c.project_id,
    logs.c.organisation_id,
    sessions.c.sequence.label("session_sequence"),
    sessions.c.created_at.label("session_created_at"),
    *(logs.c[name] for name in _READ if name not in {"error", "model"}),
    # Only whether there is one.
    func.substr(logs.c.error, 1, 1).label("error"),
    logs.c.config["model"].label("model"),
)
"""What is read of logs, and of the sessions that they are in, in order to count them."""


class _Totals(NamedTuple):
    sums: Mapping[str, int]
    first_at: Any
    last_at: Any
    labels: Counter[LabelName]


_NOTHING: Final = _Totals(Counter(), None, None, Counter())


def create_totals(connection: Connection, session_ids: Sequence[str]) -> None:
    """Make the totals of new sessions, which have no datapoints yet."""
    for some in in_parts(session_ids):
        connection.execute(_CREATE, {"wanted": some})


def add_to_totals(connection: Connection, datapoints: Datapoints) -> None:
    """Add datapoints to the totals of their sessions."""
    _change(connection, _totals_of(datapoints), {})


def take_from_totals(connection: Connection, datapoints: Datapoints, gone: Collection[int] = ()) -> None:
    """Take datapoints, which are deleted already, from the totals of their sessions.

    Args:
        connection: The connection of the transaction.
        datapoints: What they were.
        gone: The sequences of sessions whose totals do not matter any more.
    """
    totals = _totals_of(datapoints)
    _change(connection, {}, {session: totals[session] for session in totals if session.sequence not in gone})


def change_totals(connection: Connection, before: Datapoints, after: Datapoints) -> None:
    """Put what datapoints are now into the place of what they were."""
    _change(connection, _totals_of(after), _totals_of(before))


def _adding_totals(insert: Any) -> Insert:
    adding = insert(session_totals)
    new: Any = adding.excluded
    columns = session_totals.c
    first_at, last_at = columns.first_at, columns.last_at
    statement: Insert = adding.on_conflict_do_update(
        index_elements=[columns.session_sequence],
        set_={
            **{name: columns[name] + new[name] for name in _SUMS},
            **{column.name: column.bitwise_or(new[column.name]) for column in BITS_OF.values()},
            "first_at": case(
                (first_at <= new.first_at, first_at), else_=func.coalesce(new.first_at, first_at)
            ),
            "last_at": case((last_at >= new.last_at, last_at), else_=func.coalesce(new.last_at, last_at)),
        },
    ).returning(columns.session_sequence, first_at, last_at)
    return statement


def _adding_labels(insert: Any) -> Insert:
    adding = insert(session_labels)
    counted = session_labels.c.datapoints
    statement: Insert = adding.on_conflict_do_update(
        index_elements=session_labels.primary_key.columns.keys(),
        set_={counted.name: counted + adding.excluded[counted.name]},
    ).returning(session_labels.c.session_sequence)
    return statement


def _bits_in(kind: str) -> ScalarSelect[Any]:
    """Build the subquery of the bits of all labels of a session."""
    bits = cast(func.coalesce(func.sum(labels.c.bit.distinct()), 0), BigInteger)
    return (
        select(bits)
        .join_from(session_labels, labels, labels.c.sequence == session_labels.c.label_sequence)
        .where(session_labels.c.session_sequence == session_totals.c.session_sequence, labels.c.kind == kind)
        .correlate(session_totals)
        .scalar_subquery()
    )


def _of_logs(moment: ColumnElement[float]) -> ScalarSelect[Any]:
    """Build the subquery of a moment of all logs of a session."""
    return (
        select(cast(moment, Float))
        .join_from(logs, sessions, sessions.c.id == logs.c.session_id)
        .where(sessions.c.sequence == session_totals.c.session_sequence)
        .correlate(session_totals)
        .scalar_subquery()
    )


_BEGIN: Final = EpochSeconds(logs.c.created_at)
_ZERO: Final = cast(literal(0), BigInteger)
_CREATED: Final = {
    "session_sequence": sessions.c.sequence,
    "organisation_id": sessions.c.organisation_id,
    "began_at": cast(EpochSeconds(sessions.c.created_at), Float),
    **dict.fromkeys((*_SUMS, *(column.name for column in BITS_OF.values())), _ZERO),
}
_CREATE: Final = insert(session_totals).from_select(
    list(_CREATED),
    select(*_CREATED.values()).where(sessions.c.id.in_(bindparam("wanted", expanding=True))),
)
_ADD: Final = {"sqlite": _adding_totals(sqlite.insert), "postgresql": _adding_totals(postgresql.insert)}
_ADD_LABELS: Final = {
    "sqlite": _adding_labels(sqlite.insert),
    "postgresql": _adding_labels(postgresql.insert),
}
_IS_CHANGED: Final = session_totals.c.session_sequence.in_(bindparam("changed", expanding=True))
_FIND_TIMES: Final = (
    update(session_totals)
    .where(_IS_CHANGED)
    .values(
        first_at=_of_logs(func.min(_BEGIN)),
        last_at=_of_logs(func.max(_BEGIN + func.coalesce(logs.c.duration, 0))),
    )
)
_FORGET_LABELS: Final = (
    delete(session_labels)
    .where(
        session_labels.c.session_sequence.in_(bindparam("changed", expanding=True)),
        session_labels.c.datapoints == 0,
    )
    .returning(session_labels.c.session_sequence)
)
_FIND_BITS: Final = (
    update(session_totals)
    .where(_IS_CHANGED)
    .values({column.name: _bits_in(kind) for kind, column in BITS_OF.items()})
)


def _change(
    connection: Connection,
    added: Mapping[TotalledSession, _Totals],
    taken: Mapping[TotalledSession, _Totals],
) -> None:
    changed = sorted(added.keys() | taken.keys())
    if not changed:
        return
    names = {name for some in (added, taken) for totals in some.values() for name in totals.labels}
    known = find_or_create_labels(connection, names) if names else {}
    rows, label_rows = [], []
    for session in changed:
        new, old = added.get(session, _NOTHING), taken.get(session, _NOTHING)
        bits = dict.fromkeys(_KINDS, 0)
        for name in new.labels:
            bits[name[1]] |= known[name].bit
        rows.append(
            {
                "session_sequence": session.sequence,
                "organisation_id": session.organisation_id,
                "began_at": session.created_at.timestamp(),
                **{name: float(new.sums[name] - old.sums[name]) for name in _SUMS},
                **{column.name: bits[kind] for kind, column in BITS_OF.items()},
                "first_at": new.first_at,
                "last_at": new.last_at,
            }
        )
        counted = Counter(new.labels)
        counted.subtract(old.labels)
        label_rows += sorted(
            (session.sequence, known[name].sequence, count) for name, count in counted.items() if count
        )
    dialect = connection.dialect.name
    times = connection.execute(_ADD[dialect], rows).all()
    if label_rows:
        names_of_columns = session_labels.columns.keys()
        connection.execute(
            _ADD_LABELS[dialect], [dict(zip(names_of_columns, row, strict=True)) for row in label_rows]
        )
    if taken:
        _forget(connection, {session.sequence: totals for session, totals in taken.items()}, times)


def _forget(connection: Connection, taken: Mapping[int, _Totals], times: Sequence[Row[Any]]) -> None:
    """Find times and labels of sessions anew, where those that are stored may be of what was taken."""
    untimely = [
        row.session_sequence
        for row in times
        if (totals := taken.get(row.session_sequence))
        and (totals.first_at < row.first_at + _CLOSE or totals.last_at > row.last_at - _CLOSE)
    ]
    for some in in_parts(untimely):
        connection.execute(_FIND_TIMES, {"changed": some})
    for some in in_parts(sorted(taken)):
        if unlabelled := connection.scalars(_FORGET_LABELS, {"changed": some}).all():
            connection.execute(_FIND_BITS, {"changed": sorted(set(unlabelled))})


def _totals_of(datapoints: Datapoints) -> dict[TotalledSession, _Totals]:
    columns = {name: datapoints.columns[name] for name in _READ if name in datapoints.columns}
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, session in enumerate(datapoints.sessions):
        if session is not None:
            places[session.sequence].append(place)
    totals: dict[TotalledSession, _Totals] = {}
    for some in places.values():
        session = datapoints.sessions[some[0]]
        if session is not None:
            of_session = {name: [column[place] for place in some] for name, column in columns.items()}
            totals[session] = _totals(session.organisation_id, of_session)
    return totals


def _totals(organisation_id: int, columns: Mapping[str, Sequence[Any]]) -> _Totals:
    created_at = columns["created_at"]
    durations = columns.get("duration") or [0] * len(created_at)
    tokens = {name: sum(filter(None, columns.get(name, ()))) for name in ("prompt_tokens", "output_tokens")}
    costs = chain(columns.get("prompt_cost", ()), columns.get("output_cost", ()))
    return _Totals(
        {
            "datapoints": len(created_at),
            "errors": sum(error is not None for error in columns.get("error", ())),
            "tokens": sum(tokens.values()),
            **tokens,
            "nanodollars": sum(floor(cost * NANODOLLARS + 0.5) for cost in costs if cost),
        },
        first_at=min(created_at).timestamp(),
        last_at=max(
            begin.timestamp() + (duration or 0) for begin, duration in zip(created_at, durations, strict=True)
        ),
        labels=Counter(
            (organisation_id, kind, value[:LONGEST_VALUE])
            for kind in _KINDS
            for value in columns.get(kind, ())
            if value and isinstance(value, str)
        ),
    )
