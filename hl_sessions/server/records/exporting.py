"""Writes a database as the lines of an export, one by one, of whatever size the whole is."""

from collections.abc import Iterator
from typing import Final

from pydantic_core import to_json
from sqlalchemy import Connection, RowMapping, Table, func, select

from hl_sessions.server.database.tables import organisations
from hl_sessions.server.records.export_format import EXPORTED, ORGANISATION, exported_columns

_ROWS_AT_ONCE: Final = 500


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
