"""Reads what ``exporting`` wrote into a database, which may have some of it already."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, Final

from pydantic import AfterValidator, FiniteFloat, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from sqlalchemy import JSON, Connection, Float, Table, select
from sqlalchemy.types import TypeEngine

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.tables import UTCDateTime, feedback, logs, organisations, projects, sessions
from hl_sessions.server.protocol.values import Count, Dollars, in_utc
from hl_sessions.server.records.counts import count_added
from hl_sessions.server.records.exporting import EXPORTED, ORGANISATION, exported_columns
from hl_sessions.server.records.sessions import find_sequences

LINES_AT_ONCE: Final = 500
"""How many lines may be imported in one transaction: a server that runs waits for it."""

_TABLES: Final = {table.name: table for table in EXPORTED}

# The page adds these up.
_LIMITED: Final[dict[str, Any]] = {
    "prompt_tokens": Count,
    "output_tokens": Count,
    "prompt_cost": Dollars,
    "output_cost": Dollars,
}


def _value_of(name: str, column_type: TypeEngine[Any]) -> Any:
    if name in _LIMITED:
        return _LIMITED[name]
    if isinstance(column_type, UTCDateTime):
        return Annotated[datetime, AfterValidator(in_utc)]
    if isinstance(column_type, Float):
        return FiniteFloat
    return Any if isinstance(column_type, JSON) else column_type.python_type


_VALUES: Final[dict[str, dict[str, TypeAdapter[Any]]]] = {
    table.name: {name: TypeAdapter(_value_of(name, table.c[name].type)) for name in exported_columns(table)}
    for table in EXPORTED
}


class InvalidLineError(Exception):
    """A line is none of an export, or contradicts what is in the database.

    Args:
        number: The number of the line, from 1.
        message: What is wrong with it.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(f"line {number}: {message}")


class Importer:
    """Imports lines in their order; what the database has already is left as it is.

    An organisation, or a project of it, that has another ID in the database than in the lines is known by
    its name.
    """

    def __init__(self) -> None:
        self._project_ids: dict[str, str] = {}

    def import_lines(self, connection: Connection, lines: Sequence[tuple[int, bytes]]) -> int:
        """Store what these lines hold, each given with its number, and answer how many were new.

        Raises:
            InvalidLineError: When one of them cannot be stored; then none is.
        """
        records = [(number, *_parse(number, line)) for number, line in lines]
        imported = 0
        for table_name, of_table in groupby(records, itemgetter(1)):
            rows = {row[_key(table_name)]: (number, row) for number, _, row in of_table}
            imported += self._import_rows(connection, _TABLES[table_name], rows)
        return imported

    def _import_rows(
        self, connection: Connection, table: Table, rows: dict[str, tuple[int, dict[str, Any]]]
    ) -> int:
        key = table.c[_key(table.name)]
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
            _require(connection, logs, "log_id", new)
        if "reference_id" in table.c:
            _require_free_references(connection, table, new)
        added = [row for _, row in new.values()]
        insert_rows(connection, table, added)
        if table is logs:
            session_ids = sorted({row["session_id"] for row in added} - {None})
            sequences = dict(find_sequences(connection, session_ids))
            count_added(connection, [(row["project_id"], sequences.get(row["session_id"])) for row in added])
        return len(added)

    def _find_organisations(
        self, connection: Connection, rows: dict[str, tuple[int, dict[str, Any]]]
    ) -> None:
        names = {row[ORGANISATION] for _, row in rows.values()}
        query = select(organisations.c.name, organisations.c.sequence).where(organisations.c.name.in_(names))
        known = {row.name: row.sequence for row in connection.execute(query)}
        for number, row in rows.values():
            name = row.pop(ORGANISATION)
            if name not in known:
                raise InvalidLineError(number, "the organisation is in no line before")
            row["organisation_id"] = known[name]

    def _find_projects(self, connection: Connection, rows: dict[str, tuple[int, dict[str, Any]]]) -> set[str]:
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


def numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Give the lines with their numbers, without empty ones."""
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _key(table: str) -> str:
    return "name" if table == organisations.name else "id"


def _parse(number: int, line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        record = _read_json(line)
    except (ValueError, RecursionError):
        raise InvalidLineError(number, "this is not JSON") from None
    name = record.pop("record", None) if isinstance(record, dict) else None
    if not isinstance(name, str) or name not in _TABLES:
        raise InvalidLineError(number, "this is no line of an export") from None
    table = _TABLES[name]
    row: dict[str, Any] = {column: record.pop(column, None) for column in exported_columns(table)}
    for column, value in row.items():
        if value is None:
            if not table.c[column].nullable:
                raise InvalidLineError(number, f"{column!r} is missing")
            continue
        try:
            row[column] = _VALUES[name][column].validate_python(value)
        except ValidationError:
            raise InvalidLineError(number, f"{column!r} is of the wrong type, or out of range") from None
    if "organisation_id" in table.c:
        row[ORGANISATION] = record.pop(ORGANISATION, None)
    if record:
        raise InvalidLineError(number, "there are fields that no export has")
    return name, row


def _read_json(line: bytes) -> Any:
    try:
        return from_json(line)
    except ValueError:
        # The fields of a config that are kept in its ``other`` may be nested one level deeper than this
        # parser goes; the other one takes halves of surrogate pairs, which cannot be written again.
        value = json.loads(line)
        to_json(value)
        return value


def _require(
    connection: Connection, table: Table, column: str, rows: dict[str, tuple[int, dict[str, Any]]]
) -> None:
    wanted = {row[column] for _, row in rows.values()} - {None}
    known = set(connection.scalars(select(table.c.id).where(table.c.id.in_(wanted))))
    for key, (number, row) in rows.items():
        if row[column] is not None and row[column] not in known:
            raise InvalidLineError(number, f"what {column!r} names is in no line before")
        # Only now, so that no datapoint is nested in itself, not even by way of others.
        known.add(key)


def _require_free_references(
    connection: Connection, table: Table, rows: dict[str, tuple[int, dict[str, Any]]]
) -> None:
    references = {row["reference_id"] for _, row in rows.values()} - {None}
    query = select(table.c.organisation_id, table.c.reference_id).where(table.c.reference_id.in_(references))
    taken = {(row.organisation_id, row.reference_id) for row in connection.execute(query)}
    for number, row in rows.values():
        if (row["organisation_id"], row["reference_id"]) in taken:
            raise InvalidLineError(number, "another record has this 'reference_id' in the database")
