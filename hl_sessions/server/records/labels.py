"""Labels: the sources, models, environments and projects of the datapoints of a session.

Each label has a bit in a column of ``session_totals``, so that sessions with a label are found in this table
alone. The first 63 labels of a kind in an organisation have a bit each; further ones share them.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, bindparam, exists, false, func, select

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import (
    labels,
    organisations,
    project_sessions,
    session_labels,
    session_totals,
)

Kind: TypeAlias = Literal["source", "model", "environment", "project"]

BITS_OF: Final = {
    "source": session_totals.c.sources,
    "model": session_totals.c.models,
    "environment": session_totals.c.environments,
    "project": session_totals.c.projects,
}
"""The column with the bits of each kind; the value of a label of a project is its ID."""

COUNTED_KINDS: Final[tuple[Kind, ...]] = ("source", "model", "environment")
"""The kinds whose labels ``session_labels`` counts; ``project_sessions`` counts those of projects."""

LONGEST_VALUE: Final = 200
"""The number of characters of a value that count, because an index limits the length."""

BITS: Final = 63
"""The number of bits that an integer of every database has beside its sign."""

LabelName: TypeAlias = tuple[int, str, str]
"""The ID of an organisation, a kind and a value."""


class Label(NamedTuple):
    """A stored label: its ``sequence``, and its bit among those of its kind."""

    sequence: int
    bit: int


_FIND: Final = select(labels).where(
    labels.c.organisation_id.in_(bindparam("organisations", expanding=True)),
    labels.c.value.in_(bindparam("wanted", expanding=True)),
)
_LOCK: Final = (
    select(organisations.c.sequence)
    .where(organisations.c.sequence.in_(bindparam("organisations", expanding=True)))
    .order_by(organisations.c.sequence)
    .with_for_update(key_share=True)
)
_COUNT: Final = (
    select(labels.c.organisation_id, labels.c.kind, func.count())
    .where(labels.c.organisation_id.in_(bindparam("organisations", expanding=True)))
    .group_by(labels.c.organisation_id, labels.c.kind)
)


def find_or_create_labels(connection: Connection, wanted: Collection[LabelName]) -> dict[LabelName, Label]:
    """Return the labels with these names, and create the missing ones."""
    found = dict(_find(connection, wanted))
    missing = wanted - found.keys()
    if missing:
        organisation_ids = sorted({organisation_id for organisation_id, _, _ in missing})
        lock_organisations(connection, organisation_ids)
        found.update(_find(connection, missing))
        _create(connection, organisation_ids, sorted(missing - found.keys()))
        found.update(_find(connection, missing))
    return found


def lock_organisations(connection: Connection, organisation_ids: Sequence[int]) -> None:
    """Let no other transaction make labels of organisations: it would give them the same bits."""
    connection.execute(_LOCK, {"organisations": organisation_ids}).all()


def label_value(text: str) -> str:
    """Return the value of the label of a text: its first ``LONGEST_VALUE`` characters."""
    return text[:LONGEST_VALUE]


def is_named(organisation_id: int, kind: str, value: str) -> list[ColumnElement[bool]]:
    """Build the conditions on ``labels`` that one is of this kind and value, of which the begin counts."""
    return [
        labels.c.organisation_id == organisation_id,
        labels.c.kind == kind,
        labels.c.value == label_value(value),
    ]


def has_label(connection: Connection, organisation_id: int, kind: Kind, value: str) -> ColumnElement[bool]:
    """Build the condition on ``session_totals`` that a session has a datapoint with this label.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the sessions.
        kind: The kind of the label.
        value: The value of the label, of which the first ``LONGEST_VALUE`` characters count.
    """
    name = (organisation_id, kind, label_value(value))
    label = dict(_find(connection, {name})).get(name)
    if label is None:
        return false()
    has_bit = BITS_OF[kind].bitwise_and(label.bit) != 0
    of_bit = (
        labels.c.organisation_id == organisation_id,
        labels.c.kind == kind,
        labels.c.bit == label.bit,
        labels.c.sequence != label.sequence,
    )
    if connection.scalar(select(labels.c.sequence).where(*of_bit).limit(1)) is None:
        return has_bit
    if kind == "project":
        counted, is_label = project_sessions, project_sessions.c.project_id == value
    else:
        counted, is_label = session_labels, session_labels.c.label_sequence == label.sequence
    of_session = counted.c.session_sequence == session_totals.c.session_sequence
    # The statement may read the table that counts them, too, for another project.
    is_in = exists().where(of_session, is_label).correlate(session_totals)
    return and_(has_bit, is_in)


def _find(connection: Connection, wanted: Collection[LabelName]) -> Iterator[tuple[LabelName, Label]]:
    organisation_ids = sorted({organisation_id for organisation_id, _, _ in wanted})
    for some in in_parts(sorted({value for _, _, value in wanted})):
        for row in connection.execute(_FIND, {"organisations": organisation_ids, "wanted": some}):
            name = (row.organisation_id, row.kind, row.value)
            if name in wanted:
                yield name, Label(row.sequence, row.bit)


def _create(connection: Connection, organisation_ids: Collection[int], names: Iterable[LabelName]) -> None:
    numbers: Counter[tuple[int, str]] = Counter()
    for organisation_id, kind, count in connection.execute(_COUNT, {"organisations": organisation_ids}):
        numbers[organisation_id, kind] = count
    rows: list[dict[str, Any]] = []
    for organisation_id, kind, value in names:
        bit = 1 << numbers[organisation_id, kind] % BITS
        numbers[organisation_id, kind] += 1
        rows.append({"organisation_id": organisation_id, "kind": kind, "value": value, "bit": bit})
    if rows:
        insert_rows(connection, labels, rows)
