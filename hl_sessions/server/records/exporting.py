"""Writes a database as the lines of an export, one by one, of whatever size the whole is."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, RowMapping, String, Table, func, select

from hl_sessions.server.database.in_parts import in_parts_of_size
from hl_sessions.server.database.stored_text import octets_of
from hl_sessions.server.database.tables import ExactJSON, logs, organisations
from hl_sessions.server.records.export_format import EXPORTED, ORGANISATION, exported_columns
from hl_sessions.server.records.otlp_format import otlp_line

_ROWS_AT_ONCE: Final = 500
_AT_ONCE: Final = 2 * 1024 * 1024  # bytes, unless a single row has more


def count_rows(connection: Connection, tables: Sequence[Table] = EXPORTED) -> int:
    """Answer how many records there are in these tables."""
    counts = (connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables)
    return sum(counts)


def export_lines(connection: Connection) -> Iterator[bytes]:
    """Yield the lines of the whole database; what is written to it meanwhile is in none of them."""
    names = {row.sequence: row.name for row in connection.execute(select(organisations))}
    for table in EXPORTED:
        for row in chain.from_iterable(_parts(connection, table)):
            line = {"record": str(table.name)}
            if "organisation_id" in table.c:
                line[ORGANISATION] = names[row["organisation_id"]]
            values = {name: row[name] for name in exported_columns(table) if row[name] is not None}
            yield to_json(line | values) + b"\n"


def export_otlp(connection: Connection) -> Iterator[tuple[bytes, int]]:
    """Yield all datapoints as lines of OTLP's JSON, each with the number of datapoints that are in it."""
    for rows in _parts(connection, logs):
        yield otlp_line(connection, rows), len(rows)


def _parts(connection: Connection, table: Table) -> Iterator[Sequence[RowMapping]]:
    # Piece by piece: to drivers, one result is in memory as a whole.
    last = 0
    measured = select(table.c.sequence, _size_of(table).label("size"))
    measured = measured.order_by(table.c.sequence).limit(_ROWS_AT_ONCE)
    query = select(table).order_by(table.c.sequence)
    while found := connection.execute(measured.where(table.c.sequence > last)).all():
        for some in in_parts_of_size(((row.sequence, row.size) for row in found), _AT_ONCE):
            part = query.where(table.c.sequence.between(some[0], some[-1]))
            yield connection.execute(part).mappings().all()
        last = found[-1].sequence


def _size_of(table: Table) -> ColumnElement[int]:
    """Return the length of all in a row that has any length."""
    lengths = [
        func.coalesce(octets_of(column), 0)
        for column in table.c
        if isinstance(column.type, String | ExactJSON)
    ]
    return sum(lengths[1:], lengths[0])
