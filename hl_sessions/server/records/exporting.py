"""Writes a database, or a selection of it, piece by piece, regardless of its size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Connection, String, Table, func, or_, select

from hl_sessions.server.database.in_parts import in_parts_of_size
from hl_sessions.server.database.stored_text import octets_of
from hl_sessions.server.database.tables import (
    ExactJSON,
    feedback,
    logs,
    organisations,
    project_sessions,
    projects,
    sessions,
)
from hl_sessions.server.records.csv_format import OF_SESSION, csv_header, csv_line
from hl_sessions.server.records.export_format import EXPORTED, json_line
from hl_sessions.server.records.otlp_format import otlp_line
from hl_sessions.server.records.parts import Part

_ROWS_AT_ONCE: Final = 500
_AT_ONCE: Final = 2 * 1024 * 1024  # bytes, unless a single row has more

Records: TypeAlias = Sequence[Mapping[str, Any]]
Conditions: TypeAlias = Sequence[ColumnElement[bool]]
FindSome: TypeAlias = Callable[[Connection, int], Sequence[tuple[int, str]]]
"""Returns the sequences and the IDs of some sessions after a sequence, in order."""


@dataclass(frozen=True)
class ExportFormat:
    """A format of exports.

    Args:
        header: The bytes before all records.
        tables: The tables of its records, in order.
        write: Writes some records of a table, which the conditions select.
    """

    header: bytes
    tables: Sequence[Table]
    write: Callable[[Connection, Table, Records, Conditions], bytes]


@dataclass(frozen=True)
class Selection:
    """The records to export; by default all.

    Args:
        conditions: The conditions that select the records of each table.
    """

    conditions: Mapping[Table, Conditions] = field(default_factory=dict)

    @classmethod
    def of_sessions(cls, session_ids: Sequence[str], project_ids: Sequence[str]) -> "Selection":
        """Select some sessions with their records, and some projects."""
        in_sessions = logs.c.session_id.in_(session_ids)
        return cls(
            {
                projects: [projects.c.id.in_(project_ids)],
                sessions: [sessions.c.id.in_(session_ids)],
                logs: [in_sessions],
                feedback: [
                    or_(
                        feedback.c.session_id.in_(session_ids),
                        feedback.c.log_id.in_(select(logs.c.id).where(in_sessions)),
                    )
                ],
            }
        )

    @classmethod
    def of_datapoints(cls, project: str | None, since: datetime | None) -> "Selection":
        """Select datapoints, and the records that belong to them.

        Args:
            project: The name of their project; ``None``: of any.
            since: The time of the oldest one; ``None``: of any time. Sessions that began since then are
                exported as well, even without datapoints.
        """
        of_logs: list[ColumnElement[bool]] = []
        if project is not None:
            of_logs.append(logs.c.project_id.in_(select(projects.c.id).where(projects.c.name == project)))
        if since is not None:
            of_logs.append(logs.c.created_at >= since)
        if not of_logs:
            return cls()
        of_sessions: ColumnElement[bool] = sessions.c.id.in_(select(logs.c.session_id).where(*of_logs))
        if since is not None and project is None:
            of_sessions = or_(of_sessions, sessions.c.created_at >= since)
        of_projects = [] if project is None else [projects.c.name == project]
        owners = select(projects.c.organisation_id).where(*of_projects)
        return cls(
            {
                organisations: [organisations.c.sequence.in_(owners)] if of_projects else [],
                projects: of_projects,
                sessions: [of_sessions],
                logs: of_logs,
                feedback: [
                    or_(
                        feedback.c.session_id.in_(select(sessions.c.id).where(of_sessions)),
                        feedback.c.log_id.in_(select(logs.c.id).where(*of_logs)),
                    )
                ],
            }
        )

    def of(self, table: Table) -> Conditions:
        """Return the conditions that select the records of a table."""
        return self.conditions.get(table, ())


def count_records(connection: Connection, selection: Selection, format_: ExportFormat) -> int:
    """Return how many records will be exported."""
    counts = (
        connection.scalar(select(func.count()).select_from(table).where(*selection.of(table))) or 0
        for table in format_.tables
    )
    return sum(counts)


def export_records(
    connection: Connection, selection: Selection, format_: ExportFormat
) -> Iterator[tuple[bytes, int]]:
    """Yield the export of a selection, without records that are written meanwhile.

    Yields:
        Some bytes, and the number of their records.
    """
    yield format_.header, 0
    for table in format_.tables:
        conditions = selection.of(table)
        for some in _read(connection, table, conditions):
            yield format_.write(connection, table, some, conditions), len(some)


def export_sessions(organisation_id: int, find_some: FindSome, format_: ExportFormat) -> Sequence[Part]:
    """Return the export of some sessions of an organisation, with their records, in parts to be read.

    Args:
        organisation_id: The organisation.
        find_some: Finds the sessions.
        format_: The format.
    """
    parts: list[Part] = [format_.header]
    if organisations in format_.tables:
        parts.append(_StoredRecords(organisations, [organisations.c.sequence == organisation_id], format_))
    return [*parts, _FoundSessions(find_some, format_)]


@dataclass(frozen=True)
class _StoredRecords:
    """The exported records of a table after a sequence, as a part of an answer."""

    table: Table
    conditions: Conditions
    format: ExportFormat
    after: int = 0

    def read(self, connection: Connection) -> Sequence[Part]:
        """Return some of the records, and the rest."""
        some = next(_read(connection, self.table, self.conditions, self.after), None)
        if some is None:
            return []
        written = self.format.write(connection, self.table, some, self.conditions)
        return [written, replace(self, after=some[-1]["sequence"])]


@dataclass(frozen=True)
class _FoundSessions:
    """Sessions after a sequence, with their records, as a part of an answer.

    Args:
        find_some: Finds the sessions.
        format: The format.
        after: The sequence.
        written: The IDs of the projects that are already in the answer.
    """

    find_some: FindSome
    format: ExportFormat
    after: int = 0
    written: frozenset[str] = frozenset()

    def read(self, connection: Connection) -> Sequence[Part]:
        """Return some of the sessions, still in the database, and the rest."""
        found = self.find_some(connection, self.after)
        if not found:
            return []
        in_found = project_sessions.c.session_sequence.in_([sequence for sequence, _ in found])
        query = select(project_sessions.c.project_id).where(in_found).distinct()
        new = set(connection.scalars(query)) - self.written
        selection = Selection.of_sessions([session_id for _, session_id in found], sorted(new))
        return [
            *(
                _StoredRecords(table, selection.of(table), self.format)
                for table in self.format.tables
                if table is not organisations
            ),
            replace(self, after=found[-1][0], written=self.written | new),
        ]


def _read(connection: Connection, table: Table, conditions: Conditions, after: int = 0) -> Iterator[Records]:
    # Piece by piece, because drivers hold a whole result in memory. The first query reads many rows, but only
    # an index; the others read only the wanted rows.
    of_table = select(table.c.sequence).where(*conditions).order_by(table.c.sequence).limit(_ROWS_AT_ONCE)
    sequence = table.c.sequence
    while found := connection.scalars(of_table.where(sequence > after)).all():
        measured = select(sequence, _size_of(table)).where(sequence.in_(found)).order_by(sequence)
        sizes = connection.execute(measured).all()
        for some in in_parts_of_size(((one, size) for one, size in sizes), _AT_ONCE):
            query = select(table).where(sequence.in_(some)).order_by(sequence)
            yield [dict(row) for row in connection.execute(query).mappings()]
        after = found[-1]


def _size_of(table: Table) -> ColumnElement[int]:
    """Return the total length of all columns of a row that have no fixed length."""
    lengths = [
        func.coalesce(octets_of(column), 0)
        for column in table.c
        if isinstance(column.type, String | ExactJSON)
    ]
    return sum(lengths[1:], lengths[0])


def _write_json_lines(
    connection: Connection, table: Table, records: Records, conditions: Conditions
) -> bytes:
    """Write records as lines of JSON; a parent that is not exported is left out, for the import."""
    names: Mapping[int, str] = {}
    if "organisation_id" in table.c:
        query = select(organisations.c.sequence, organisations.c.name).where(
            organisations.c.sequence.in_({record["organisation_id"] for record in records})
        )
        names = {row.sequence: row.name for row in connection.execute(query)}
    lost: set[str] = set()
    if table is logs and conditions:
        lost = {record["parent_id"] for record in records} - {None}
        lost -= set(connection.scalars(select(logs.c.id).where(logs.c.id.in_(lost), *conditions)))
    return b"".join(
        json_line(
            table,
            record if record.get("parent_id") not in lost else {**record, "parent_id": None},
            names.get(record.get("organisation_id", 0)),
        )
        for record in records
    )


def _write_csv(connection: Connection, _table: Table, records: Records, _conditions: Conditions) -> bytes:
    """Write datapoints as rows of CSV."""
    project_ids = {record["project_id"] for record in records}
    names = dict(
        connection.execute(select(projects.c.id, projects.c.name).where(projects.c.id.in_(project_ids))).all()
    )
    given: dict[str, list[Any]] = {record["id"]: [] for record in records}
    query = select(feedback).where(feedback.c.log_id.in_(given)).order_by(feedback.c.sequence)
    for row in connection.execute(query):
        given[row.log_id].append({"type": row.type, "value": row.value, "user": row.user})
    session_ids = {record["session_id"] for record in records} - {None}
    of_sessions = select(sessions.c.id, *(sessions.c[name] for name in OF_SESSION))
    found = connection.execute(of_sessions.where(sessions.c.id.in_(session_ids))).mappings()
    session_of: dict[str | None, Mapping[str, Any]] = {row["id"]: dict(row) for row in found}
    return b"".join(
        csv_line(
            record,
            names[record["project_id"]],
            given[record["id"]],
            session_of.get(record["session_id"], {}),
        )
        for record in records
    )


def _write_otlp(connection: Connection, _table: Table, records: Records, _conditions: Conditions) -> bytes:
    return otlp_line(connection, records)


def _write_ids(_connection: Connection, _table: Table, records: Records, _conditions: Conditions) -> bytes:
    return b"".join(f"{record['id']}\n".encode() for record in records)


JSON_LINES: Final = ExportFormat(b"", EXPORTED, _write_json_lines)
"""The lines that an import reads."""

CSV: Final = ExportFormat(csv_header(), (logs,), _write_csv)
"""A row for each datapoint, for spreadsheets."""

OTLP_JSON: Final = ExportFormat(b"", (logs,), _write_otlp)
"""Lines of OTLP's JSON, some datapoints each."""

IDS: Final = ExportFormat(b"", (sessions,), _write_ids)
"""The IDs of sessions, one on each line."""
