"""Keeps the totals of the datapoints of each session, in the transaction that changes them."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from math import floor
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    ScalarSelect,
    Table,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from hl_sessions.server.database.bulk_insert import add_to_rows
from hl_sessions.server.database.epoch import EpochSeconds
from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import (
    labels,
    logs,
    project_sessions,
    session_labels,
    session_totals,
    sessions,
)
from hl_sessions.server.records.frequent_members import KEEP_ALL, FrequentMembers, read_frequent_members
from hl_sessions.server.records.labels import (
    BITS_OF,
    COUNTED_KINDS,
    Label,
    find_or_create_labels,
    label_value,
)
from hl_sessions.server.records.session_metadata import columns_of_bits, metadata_bits

NANODOLLARS: Final = 10**9
"""The number of nanodollars in a dollar."""

_SUMS: Final = ("datapoints", "errors", "tokens", "prompt_tokens", "output_tokens", "nanodollars")
_CLOSE: Final = 1e-3
"""Points in time within so many seconds may be equal: databases and Python turn them into numbers
differently.
"""

MATTERING: Final = frozenset(
    {
        *("error", "duration", "prompt_tokens", "output_tokens", "prompt_cost", "output_cost", "config"),
        "metadata",
    }
)
"""The columns of a datapoint whose changes affect the totals of its session."""


class TotalledSession(NamedTuple):
    """A session that has totals.

    Args:
        sequence: Its place in the order of arrival.
        organisation_id: Its organisation.
        created_at: The time of its creation.
    """

    sequence: int
    organisation_id: int
    created_at: datetime


@dataclass(frozen=True)
class Datapoints:
    """Datapoints to be counted.

    Args:
        project_ids: The ID of the project of each.
        sessions: The session of each, if it has one.
        columns: Their values by the names of the columns, and ``model``. A column without any value may be
            missing.
    """

    project_ids: Sequence[str]
    sessions: Sequence[TotalledSession | None]
    columns: Mapping[str, Sequence[Any]]

    @classmethod
    def read(cls, rows: Sequence[Any]) -> "Datapoints":
        """Return the datapoints of rows with the columns of ``COUNTED`` or ``ADDED``."""
        names = [name for name in (*_READ, "metadata") if rows and name in rows[0]._fields]
        return cls(
            [row.project_id for row in rows],
            [
                None
                if row.session_sequence is None
                else TotalledSession(row.session_sequence, row.organisation_id, row.session_created_at)
                for row in rows
            ],
            {name: [getattr(row, name) for row in rows] for name in names},
        )


_NUMBERS: Final = (
    *("created_at", "duration", "error", "prompt_tokens", "output_tokens", "prompt_cost", "output_cost"),
)
_READ: Final = (*_NUMBERS, *COUNTED_KINDS)

COUNTED: Final = (
    logs.c.sequence,
    logs.c.project_id,
    logs.c.organisation_id,
    sessions.c.sequence.label("session_sequence"),
    sessions.c.created_at.label("session_created_at"),
    *(logs.c[name] for name in _READ if name not in {"error", "model"}),
    # Only whether there is an error.
    func.substr(logs.c.error, 1, 1).label("error"),
    logs.c.config["model"].label("model"),
)
"""The columns of logs, and of their sessions, that are needed to count them."""

ADDED: Final = (*COUNTED, logs.c.metadata)
"""The columns that are needed to count them as added: what is noted of metadata is never taken back."""


@dataclass
class _Change:
    """A change of the totals of a session: additions less removals.

    Args:
        session: The session.
        first_at: The start of the first added datapoint, in seconds since 1970.
        last_at: The latest end of an added datapoint.
        first_taken_at: The start of the first removed datapoint.
        last_taken_at: The latest end of a removed datapoint.
        labels: The change of the number of datapoints with a label, by its kind and value.
        metadata: The bits of the metadata of the added datapoints.
        members: The bits of their frequent members.
        kept_members: Those that removed datapoints cannot have taken from the session.
    """

    session: TotalledSession
    datapoints: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    nanodollars: int = 0
    first_at: float | None = None
    last_at: float | None = None
    first_taken_at: float | None = None
    last_taken_at: float | None = None
    labels: dict[tuple[str, str], int] = field(default_factory=dict)
    metadata: int = 0
    members: int = 0
    kept_members: int = KEEP_ALL

    def row(self, known: Mapping[tuple[int, str, str], Label]) -> tuple[Any, ...]:
        """Return the change, in the order of the columns."""
        sequence, organisation_id, created_at = self.session
        bits = dict.fromkeys(BITS_OF, 0)
        for (kind, value), count in self.labels.items():
            if count > 0:
                bits[kind] |= known[organisation_id, kind, value].bit
        return (
            *(
                sequence,
                organisation_id,
                self.first_at,
                self.last_at,
                *bits.values(),
                0,
                *columns_of_bits(self.metadata),
                self.members,
            ),
            # As floats, because a sum may be larger than any integer of a database.
            *(float(self.nanodollars), float(self.prompt_tokens + self.output_tokens)),
            *(self.datapoints, self.errors, created_at.timestamp()),
            *(float(self.prompt_tokens), float(self.output_tokens)),
        )

    def may_be_untimely(self, first_at: float, last_at: float) -> bool:
        """Tell whether these times of the session may be those of a removed datapoint."""
        return (
            self.first_taken_at is not None
            and self.first_taken_at < first_at + _CLOSE
            and (self.first_at is None or self.first_at > self.first_taken_at)
        ) or (
            self.last_taken_at is not None
            and self.last_taken_at > last_at - _CLOSE
            and (self.last_at is None or self.last_at < self.last_taken_at)
        )


def create_totals(connection: Connection, session_ids: Sequence[str]) -> None:
    """Create the totals of new sessions, which have no datapoints yet."""
    for some in in_parts(session_ids):
        connection.execute(_CREATE, {"wanted": some})


def note_beginnings(connection: Connection, session_ids: Sequence[str]) -> None:
    """Update the creation times in the totals, after those of the sessions have changed."""
    for some in in_parts(session_ids):
        connection.execute(_BEGIN_ANEW, {"wanted": some})


def add_to_totals(connection: Connection, datapoints: Datapoints) -> None:
    """Add datapoints to the totals of their sessions."""
    changes: dict[int, _Change] = {}
    _add(changes, datapoints, read_frequent_members(connection))
    _store(connection, changes)


def take_from_totals(connection: Connection, datapoints: Datapoints, gone: Collection[int] = ()) -> None:
    """Remove datapoints, which are already deleted, from the totals of their sessions.

    Args:
        connection: The connection of the transaction.
        datapoints: The deleted datapoints.
        gone: The sequences of sessions whose totals are no longer needed.
    """
    changes: dict[int, _Change] = {}
    _take(changes, datapoints, read_frequent_members(connection))
    for sequence in gone:
        changes.pop(sequence, None)
    _store(connection, changes)
    _find_anew(connection, changes)


def change_totals(connection: Connection, before: Datapoints, after: Datapoints) -> None:
    """Replace the former state of datapoints by the current one, in the totals of their sessions."""
    changes: dict[int, _Change] = {}
    frequent = read_frequent_members(connection)
    _take(changes, before, frequent)
    _add(changes, after, frequent)
    _store(connection, changes)
    _find_anew(connection, changes)


def find_projects_anew(connection: Connection, sequences: Collection[int]) -> None:
    """Update the projects in the totals of sessions, after one of them has no more datapoints there."""
    for some in in_parts(sorted(sequences)):
        connection.execute(_FIND_PROJECTS, {"changed": some})


def _add(
    changes: dict[int, _Change], datapoints: Datapoints, frequent: Mapping[int, FrequentMembers]
) -> None:
    """Note additions."""
    for change, begin, end in _count(changes, datapoints, 1):
        if change.first_at is None or change.first_at > begin:
            change.first_at = begin
        if change.last_at is None or change.last_at < end:
            change.last_at = end
    metadata = datapoints.columns.get("metadata", ())
    for session, told in zip(datapoints.sessions, metadata):  # noqa: B905 - there may be no metadata
        # An import may have other JSON.
        if session is not None and isinstance(told, dict):
            change = changes[session.sequence]
            bits, proving_bits = metadata_bits(told, frequent[session.organisation_id])
            change.metadata |= bits
            change.members |= proving_bits


def _take(
    changes: dict[int, _Change], datapoints: Datapoints, frequent: Mapping[int, FrequentMembers]
) -> None:
    """Note removals."""
    for change, begin, end in _count(changes, datapoints, -1):
        if change.first_taken_at is None or change.first_taken_at > begin:
            change.first_taken_at = begin
        if change.last_taken_at is None or change.last_taken_at < end:
            change.last_taken_at = end
    metadata = datapoints.columns.get("metadata")
    for place, session in enumerate(datapoints.sessions):
        if session is None:
            continue
        change = changes[session.sequence]
        if metadata is None:
            # Deleted datapoints are read without theirs.
            change.kept_members = 0
        elif isinstance(metadata[place], dict):
            change.kept_members &= frequent[session.organisation_id].left_without(metadata[place])


def _count(
    changes: dict[int, _Change], datapoints: Datapoints, sign: int
) -> Iterator[tuple[_Change, float, float]]:
    """Count datapoints, and yield the change of the session of each, with its start and its end."""
    columns = [datapoints.columns.get(name, repeat(None)) for name in _NUMBERS]
    rows = zip(datapoints.sessions, *columns)  # noqa: B905 - columns that none has do not end
    for session, created_at, duration, error, prompt, output, prompt_cost, output_cost in rows:
        if session is None:
            continue
        change = changes.get(session.sequence)
        if change is None:
            change = changes[session.sequence] = _Change(session)
        change.datapoints += sign
        change.errors += sign * (error is not None)
        change.prompt_tokens += sign * (prompt or 0)
        change.output_tokens += sign * (output or 0)
        change.nanodollars += sign * (_nanodollars(prompt_cost) + _nanodollars(output_cost))
        begin = created_at.timestamp()
        yield change, begin, begin + (duration or 0)
    _count_labels(changes, datapoints, sign)


def _count_labels(changes: Mapping[int, _Change], datapoints: Datapoints, sign: int) -> None:
    values_of = {**datapoints.columns, "project": datapoints.project_ids}
    for kind in BITS_OF:
        values = values_of.get(kind, ())
        # Together, because most datapoints of a list have the same label.
        counted = Counter(
            (session.sequence, value)
            for session, value in zip(datapoints.sessions, values)  # noqa: B905 - there may be no values
            # The model of a config may be any JSON value.
            if session is not None and value and isinstance(value, str)
        )
        for (sequence, value), count in counted.items():
            name = (kind, label_value(value))
            of_session = changes[sequence].labels
            of_session[name] = of_session.get(name, 0) + sign * count


def _nanodollars(cost: float | None) -> int:
    return floor(cost * NANODOLLARS + 0.5) if cost else 0


def _store(connection: Connection, changes: Mapping[int, _Change]) -> None:
    names = {
        (change.session.organisation_id, *label) for change in changes.values() for label in change.labels
    }
    known = find_or_create_labels(connection, names) if names else {}
    in_order = sorted(changes.items())
    add_to_rows(connection, session_totals, [change.row(known) for _, change in in_order], _ADDED_TO_TOTALS)
    label_rows = sorted(
        (sequence, known[change.session.organisation_id, kind, value].sequence, count)
        for sequence, change in in_order
        for (kind, value), count in change.labels.items()
        if count and kind in COUNTED_KINDS
    )
    add_to_rows(connection, session_labels, label_rows, _ADDED_TO_LABELS)


def _find_anew(connection: Connection, changes: Mapping[int, _Change]) -> None:
    """Compute times and labels of sessions again if the stored ones may be those of removed datapoints.

    Frequent members are only forgotten.
    """
    forgetting = [
        {"session": sequence, "kept": change.kept_members | change.members}
        for sequence, change in sorted(changes.items())
        if change.kept_members != KEEP_ALL
    ]
    if forgetting:
        connection.execute(_FORGET_MEMBERS, forgetting)
    for some in in_parts(sorted(changes)):
        untimely = [
            sequence
            for sequence, first_at, last_at in connection.execute(_TIMES, {"changed": some})
            if changes[sequence].may_be_untimely(first_at, last_at)
        ]
        if untimely:
            connection.execute(_FIND_TIMES, {"changed": untimely})
        unlabelled = connection.scalars(_FORGET_LABELS, {"changed": some}).all()
        if unlabelled:
            connection.execute(_FIND_BITS, {"changed": sorted(set(unlabelled))})


def _added(table: Table, *names: str) -> dict[str, str]:
    return {name: f"{table.name}.{name} + excluded.{name}" for name in names}


_ADDED_TO_TOTALS: Final = {
    **_added(session_totals, *_SUMS),
    **{
        name: f"session_totals.{name} | excluded.{name}"
        for name in (
            *(column.name for column in BITS_OF.values()),
            "metadata_low",
            "metadata_high",
            "members",
        )
    },
    "first_at": "CASE WHEN session_totals.first_at <= excluded.first_at THEN session_totals.first_at "
    "ELSE coalesce(excluded.first_at, session_totals.first_at) END",
    "last_at": "CASE WHEN session_totals.last_at >= excluded.last_at THEN session_totals.last_at "
    "ELSE coalesce(excluded.last_at, session_totals.last_at) END",
}
_ADDED_TO_LABELS: Final = _added(session_labels, "datapoints")


def _bits_in(kind: str, counted: Table, is_counted: ColumnElement[bool]) -> ScalarSelect[Any]:
    """Build the subquery of the bits of all labels of a kind of a session, by the table that counts them."""
    bits = cast(func.coalesce(func.sum(labels.c.bit.distinct()), 0), BigInteger)
    return (
        select(bits)
        .join_from(counted, labels, is_counted)
        .where(
            counted.c.session_sequence == session_totals.c.session_sequence,
            labels.c.organisation_id == session_totals.c.organisation_id,
            labels.c.kind == kind,
        )
        .correlate(session_totals)
        .scalar_subquery()
    )


def _of_logs(moment: ColumnElement[float]) -> ScalarSelect[Any]:
    """Build the subquery of an aggregated time of all logs of a session."""
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
    **dict.fromkeys(
        (
            *(column.name for column in BITS_OF.values()),
            *("feedback", "metadata_low", "metadata_high", "members"),
            *_SUMS,
        ),
        _ZERO,
    ),
}
_CREATE: Final = insert(session_totals).from_select(
    list(_CREATED),
    select(*_CREATED.values()).where(sessions.c.id.in_(bindparam("wanted", expanding=True))),
)
_BEGIN_ANEW: Final = (
    update(session_totals)
    .where(
        session_totals.c.session_sequence.in_(
            select(sessions.c.sequence).where(sessions.c.id.in_(bindparam("wanted", expanding=True)))
        )
    )
    .values(
        began_at=select(_CREATED["began_at"])
        .where(sessions.c.sequence == session_totals.c.session_sequence)
        .scalar_subquery()
    )
)
_IS_CHANGED: Final = session_totals.c.session_sequence.in_(bindparam("changed", expanding=True))
_TIMES: Final = select(
    session_totals.c.session_sequence, session_totals.c.first_at, session_totals.c.last_at
).where(_IS_CHANGED)
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
_FORGET_MEMBERS: Final = (
    update(session_totals)
    .where(session_totals.c.session_sequence == bindparam("session"), session_totals.c.members != 0)
    .values(members=session_totals.c.members.bitwise_and(bindparam("kept")))
)
_IS_LABEL: Final = labels.c.sequence == session_labels.c.label_sequence
_FIND_BITS: Final = (
    update(session_totals)
    .where(_IS_CHANGED)
    .values({BITS_OF[kind].name: _bits_in(kind, session_labels, _IS_LABEL) for kind in COUNTED_KINDS})
)
_FIND_PROJECTS: Final = (
    update(session_totals)
    .where(_IS_CHANGED)
    .values(projects=_bits_in("project", project_sessions, labels.c.value == project_sessions.c.project_id))
)
