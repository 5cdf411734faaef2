"""Stores the lines of an export in a database, which may have some of them already."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Table, bindparam, select

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.in_parts import in_parts, in_parts_of_size
from hl_sessions.server.database.tables import feedback, logs, organisations, projects, sessions
from hl_sessions.server.records.counts import count_added
from hl_sessions.server.records.export_format import ORGANISATION, InvalidLineError, parse_line
from hl_sessions.server.records.feedback import insert_feedback
from hl_sessions.server.records.session_totals import ADDED, Datapoints
from hl_sessions.server.records.sessions import insert_sessions

_LINES_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 2 * 1024 * 1024

_COUNTED: Final = (
    select(*ADDED)
    .outerjoin(sessions, sessions.c.id == logs.c.session_id)
    .where(logs.c.id.in_(bindparam("wanted", expanding=True)))
)

_Rows: TypeAlias = dict[str, tuple[int, dict[str, Any]]]
"""Rows of one table by their names or IDs, each with the number of its line."""


def in_transactions(lines: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Yield as many lines at a time as are imported in one transaction, for which a running server waits."""
    sizes = ((line, len(line[1])) for line in lines)
    return in_parts_of_size(sizes, _BYTES_AT_ONCE, count=_LINES_AT_ONCE)


class Importer:
    """Imports lines in order; records that the database has already stay as they are.

    An organisation or a project with another ID in the database than in the lines is recognised by its name.
    """

    def __init__(self) -> None:
        self._project_ids: dict[str, str] = {}

    def import_lines(self, connection: Connection, lines: Sequence[tuple[int, bytes]]) -> int:
        """Store the records of numbered lines, and return how many were new.

        Raises:
            InvalidLineError: When one of them cannot be stored; then none is.
        """
        records = [(number, *parse_line(number, line)) for number, line in lines]
        imported = 0
        for table, of_table in groupby(records, itemgetter(1)):
            rows = {row[_key(table)]: (number, row) for number, _, row in of_table}
            imported += self._import_rows(connection, table, rows)
        return imported

    def _import_rows(self, connection: Connection, table: Table, rows: _Rows) -> int:
        key = table.c[_key(table)]
        present = set(connection.scalars(select(key).where(key.in_(rows))))
        if ORGANISATION in next(iter(rows.values()))[1]:
            self._find_organisations(connection, rows)
        if table is projects:
            present |= self._find_projects(connection, rows)
        new = {key: row for key, row in rows.items() if key not in present}
        if not new:
            return 0
        if table is logs:
            for _, row in new.values():
                row["project_id"] = self._project_ids.get(row["project_id"], row["project_id"])
            _require(connection, projects, "project_id", new)
            _require(connection, sessions, "session_id", new)
            _require(connection, logs, "parent_id", new)
        if table is feedback:
            _require_one_subject(new)
            _require(connection, logs, "log_id", new)
            _require(connection, sessions, "session_id", new)
        if "reference_id" in table.c:
            _require_free_references(connection, table, new)
        added = [row for _, row in new.values()]
        insert = {logs: insert_logs, sessions: insert_sessions, feedback: insert_feedback}.get(table)
        if insert is None:
            insert_rows(connection, table, added)
        else:
            insert(connection, added)
        return len(added)

    def _find_organisations(self, connection: Connection, rows: _Rows) -> None:
        names = {row[ORGANISATION] for _, row in rows.values()}
        query = select(organisations.c.name, organisations.c.sequence).where(organisations.c.name.in_(names))
        known = {row.name: row.sequence for row in connection.execute(query)}
        for number, row in rows.values():
            name = row.pop(ORGANISATION)
            if name not in known:
                raise InvalidLineError(number, "the organisation is in no line before")
            row["organisation_id"] = known[name]

    def _find_projects(self, connection: Connection, rows: _Rows) -> set[str]:
        names = {(row["organisation_id"], row["name"]): id_ for id_, (_, row) in rows.items()}
        query = select(projects.c.id, projects.c.organisation_id, projects.c.name).where(
            projects.c.name.in_({name for _, name in names})
        )
        found = {
            names[row.organisation_id, row.name]: row.id
            for row in connection.execute(query)
            if (row.organisation_id, row.name) in names
        }
        self._project_ids |= found
        return set(found)


def insert_logs(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert at least one datapoint, and count them."""
    insert_rows(connection, logs, rows)
    for wanted in in_parts([row["id"] for row in rows]):
        count_added(connection, Datapoints.read(connection.execute(_COUNTED, {"wanted": wanted}).all()))


def _key(table: Table) -> str:
    return "name" if table is organisations else "id"


def _require(connection: Connection, table: Table, column: str, rows: _Rows) -> None:
    wanted = {row[column] for _, row in rows.values()} - {None}
    known = set(connection.scalars(select(table.c.id).where(table.c.id.in_(wanted))))
    for key, (number, row) in rows.items():
        if row[column] is not None and row[column] not in known:
            raise InvalidLineError(number, f"{column!r} refers to a record that is in no line before")
        # Added after its own check, so that no datapoint is nested in itself, directly or through others.
        known.add(key)


def _require_one_subject(rows: _Rows) -> None:
    for number, row in rows.values():
        if (row["log_id"] is None) == (row["session_id"] is None):
            raise InvalidLineError(number, "one of 'log_id' and 'session_id' is required")


def _require_free_references(connection: Connection, table: Table, rows: _Rows) -> None:
    references = {row["reference_id"] for _, row in rows.values()} - {None}
    query = select(table.c.organisation_id, table.c.reference_id).where(table.c.reference_id.in_(references))
    taken = {(row.organisation_id, row.reference_id) for row in connection.execute(query)}
    for number, row in rows.values():
        if (row["organisation_id"], row["reference_id"]) in taken:
            raise InvalidLineError(number, "another record has this 'reference_id' in the database")
