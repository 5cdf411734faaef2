"""Writes a database as JSON Lines: a line each, of whatever size the whole is.

A line is an object with the name of its table as ``record``, and its columns. Two things are left out: keys,
and what follows from the rest. Organisations are called by their names.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from pydantic_core import to_json
from sqlalchemy import Connection, RowMapping, Table, func, select

from hl_sessions.server.database.tables import feedback, logs, organisations, projects, sessions

EXPORTED: Final = (organisations, projects, sessions, logs, feedback)
"""The tables, each after those that it refers to."""

ORGANISATION: Final = "organisation"

_NOT_EXPORTED: Final = {"sequence", "organisation_id", "datapoints_count", "sessions_count"}
_ROWS_AT_ONCE: Final = 500


def exported_columns(table: Table) -> Sequence[str]:
    """Give the names of the columns that are exported as they are."""
    # Plain texts: SQLAlchemy's own names are slow to dump.
    return [str(column.name) for column in table.c if column.name not in _NOT_EXPORTED]


def count_rows(connection: Connection) -> int:
    """Answer how many lines there are to be."""
    counts = (connection.scalar(select(func.count()).select_from(table)) or 0 for table in EXPORTED)
    return sum(counts)


def export_lines(connection: Connection) -> Iterator[bytes]:
    """Give the lines of the whole database; what is written to it meanwhile is in none of them."""
    names = {row.sequence: row.name for row in connection.execute(select(organisations))}
    for table in EXPORTED:
        for row in _rows(connection, table):
            line = {"record": str(table.name)}
            if "organisation_id" in table.c:
                line[ORGANISATION] = names[row["organisation_id"]]
            values = {name: row[name] for name in exported_columns(table) if row[name] is not None}
            yield to_json(line | values) + b"\n"


def _rows(connection: Connection, table: Table) -> Iterator[RowMapping]:
    # Piece by piece: to drivers, one result is in memory as a whole.
    last = 0
    query = select(table).order_by(table.c.sequence).limit(_ROWS_AT_ONCE)
    while rows := connection.execute(query.where(table.c.sequence > last)).mappings().all():
        yield from rows
        last = rows[-1]["sequence"]
