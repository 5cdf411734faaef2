"""Inserts many rows by one statement, in the way that costs the least on each database."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Dialect, TextClause, UniqueConstraint, text
from sqlalchemy.schema import Table

from hl_sessions.server.database.errors import ConflictError


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows.

    Args:
        connection: The connection of the transaction.
        table: Where to.
        rows: At least one; they all have to name the same columns.

    Raises:
        ConflictError: When somebody else has inserted a row of the same name since it was looked for.
    """
    names = tuple(rows[0])
    if connection.dialect.name == "postgresql":
        key = _unique_names(table)
        if not all(any(row.get(name) is not None for row in rows) for name in key):
            key = ()
        # One parameter: the driver takes many times as long for one per value.
        parameters = {"rows": to_json(rows).decode()}
        inserted = connection.execute(_insert_from_json(table.name, names, key), parameters)
        if inserted.rowcount < len(rows):
            raise ConflictError
    else:
        # SQLAlchemy's own handling of the values of many rows takes as long as the database does.
        statement, convert = _insert_values(table, names, connection.dialect)
        connection.exec_driver_sql(statement, [convert(row) for row in rows])


@cache
def _unique_names(table: Table) -> tuple[str, ...]:
    """Return the columns of the names that callers give to rows: those that several may give at once."""
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint) and "organisation_id" in constraint.columns:
            return tuple(str(column.name) for column in constraint.columns)
    return ()


@cache
def _insert_from_json(table: str, names: tuple[str, ...], key: tuple[str, ...]) -> TextClause:
    columns = ", ".join(f'"{name}"' for name in names)
    rows = f'json_populate_recordset(CAST(NULL AS "{table}"), CAST(:rows AS json))'
    if not key:
        return text(f'INSERT INTO "{table}" ({columns}) SELECT {columns} FROM {rows}')  # noqa: S608 - our names
    # Numbered in the order in which they are given, and inserted in that of their names: of two transactions
    # that insert the same names one waits for the other, and never both.
    names_in_order = ", ".join(f'"{name}"' for name in key)
    number = f"nextval(pg_get_serial_sequence('\"{table}\"', 'sequence'))"
    return text(
        f'INSERT INTO "{table}" (sequence, {columns}) SELECT * FROM '  # noqa: S608 - as above
        f"(SELECT {number}, {columns} FROM {rows}) AS numbered "
        f"ORDER BY {names_in_order} ON CONFLICT ({names_in_order}) DO NOTHING"
    )


@cache
def _insert_values(
    table: Table, names: tuple[str, ...], dialect: Dialect
) -> tuple[str, Callable[[dict[str, Any]], tuple[Any, ...]]]:
    """Return the statement, and what makes its parameters of a row."""
    converters = [(name, table.c[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in names]

    def convert(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(
            [row[name] if converter is None else converter(row[name]) for name, converter in converters]
        )

    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join("?" * len(names))
    return f'INSERT INTO "{table.name}" ({columns}) VALUES ({values})', convert  # noqa: S608 - as above
