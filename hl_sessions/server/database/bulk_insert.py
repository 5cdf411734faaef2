"""Inserts many rows with one statement, in the cheapest way of each database."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import Connection, Dialect, TextClause, UniqueConstraint, text
from sqlalchemy.schema import Table

from hl_sessions.server.database.errors import ConflictError
from hl_sessions.server.database.tables import UTCDateTime

_TIMES: Final = 16
"""The number of points in time whose stored form is cached."""

_STATEMENTS: Final = 256
"""The number of statements that are cached: their columns depend on the rows."""

_ROWS_OF_STATEMENT: Final = 50
"""The number of rows in one statement of SQLite: smaller statements take longer than single rows. Between two
statements another thread may take the interpreter and return it late.
"""


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows.

    Args:
        connection: The connection of the transaction.
        table: The table.
        rows: At least one row. A column that only some of them have is null in the others.

    Raises:
        ConflictError: When another transaction has inserted a row with the same name since it was looked up.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    insert_columns(connection, table, {name: [row.get(name) for row in rows] for name in names})


def insert_columns(connection: Connection, table: Table, columns: Mapping[str, Sequence[Any]]) -> None:
    """Insert rows that are given by column.

    Args:
        connection: The connection of the transaction.
        table: The table.
        columns: The values of each column, one for each row. There is at least one row.

    Raises:
        ConflictError: When another transaction has inserted a row with the same name since it was looked up.
    """
    # Columns without any value are left out: SQLite's driver takes longer for a null than for a text.
    given = {name: columns[name] for name in _column_names(table) if not _is_empty(columns.get(name, ()))}
    names = tuple(given)
    if connection.dialect.name == "postgresql":
        key = _unique_names(table)
        if not given.keys() >= set(key):
            key = ()
        rows = [dict(zip(names, values, strict=True)) for values in zip(*given.values(), strict=True)]
        # All rows are one parameter: the driver takes many times as long with one for each value.
        parameters = {"rows": to_json(rows).decode()}
        inserted = connection.execute(_insert_from_json(table.name, names, key), parameters)
        if inserted.rowcount < len(rows):
            raise ConflictError
    else:
        values = _values_of_rows(table, given, connection.dialect)
        whole = len(values) - len(values) % (_ROWS_OF_STATEMENT * len(names))
        for some, count in ((values[:whole], _ROWS_OF_STATEMENT), (values[whole:], 1)):
            if some:
                size = count * len(names)
                # SQLAlchemy's own handling of many rows takes as long as the database itself.
                connection.exec_driver_sql(
                    _insert_values(table.name, names, count),
                    [tuple(some[at : at + size]) for at in range(0, len(some), size)],
                )


def add_to_rows(
    connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]], changes: Mapping[str, str]
) -> None:
    """Insert rows, or change the existing rows with the same keys.

    Args:
        connection: The connection of the transaction.
        table: The table.
        rows: The values of all columns of each row, in the order of the keys, in which the rows are locked.
        changes: The new value of each changed column: an expression in which the existing row has the name of
            the table, and the given one is called ``excluded``.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        names = _column_names(table)
        given = to_json([dict(zip(names, row, strict=True)) for row in rows]).decode()
        connection.execute(_add_from_json(table, tuple(changes.items())), {"rows": given})
    else:
        connection.exec_driver_sql(_add_values(table, tuple(changes.items())), list(rows))


def _is_empty(column: Sequence[Any]) -> bool:
    return all(value is None for value in column)


@cache
def _column_names(table: Table) -> tuple[str, ...]:
    """Return the names as plain strings: comparing SQLAlchemy's own takes longer."""
    return tuple(str(column.name) for column in table.columns)


@cache
def _unique_names(table: Table) -> tuple[str, ...]:
    """Return the columns with names that callers choose, which several may choose at the same time."""
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint) and "organisation_id" in constraint.columns:
            return tuple(str(column.name) for column in constraint.columns)
    return ()


@lru_cache(_STATEMENTS)
def _insert_from_json(table: str, names: tuple[str, ...], key: tuple[str, ...]) -> TextClause:
    columns = ", ".join(f'"{name}"' for name in names)
    rows = f'json_populate_recordset(CAST(NULL AS "{table}"), CAST(:rows AS json))'
    if not key:
        return text(f'INSERT INTO "{table}" ({columns}) SELECT {columns} FROM {rows}')  # noqa: S608 - our names
    # Rows are numbered in the given order, and inserted in the order of their names. So of two transactions
    # that insert the same names one waits for the other, and they never wait for each other.
    names_in_order = ", ".join(f'"{name}"' for name in key)
    number = f"nextval(pg_get_serial_sequence('\"{table}\"', 'sequence'))"
    return text(
        f'INSERT INTO "{table}" (sequence, {columns}) SELECT * FROM '  # noqa: S608 - our names
        f"(SELECT {number}, {columns} FROM {rows}) AS numbered "
        f"ORDER BY {names_in_order} ON CONFLICT ({names_in_order}) DO NOTHING"
    )


@cache
def _add_from_json(table: Table, changes: tuple[tuple[str, str], ...]) -> TextClause:
    statement = _insert_from_json(table.name, _column_names(table), ()).text
    return text(statement + _on_conflict(table, changes))


@cache
def _add_values(table: Table, changes: tuple[tuple[str, str], ...]) -> str:
    return _insert_values(table.name, _column_names(table), 1) + _on_conflict(table, changes)


def _on_conflict(table: Table, changes: tuple[tuple[str, str], ...]) -> str:
    key = ", ".join(column.name for column in table.primary_key)
    return f" ON CONFLICT ({key}) DO UPDATE SET " + ", ".join(f"{name} = {value}" for name, value in changes)


@lru_cache(_STATEMENTS)
def _insert_values(table: str, names: tuple[str, ...], count: int) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    row = f"({', '.join('?' * len(names))})"
    return f'INSERT INTO "{table}" ({listed}) VALUES {", ".join([row] * count)}'  # noqa: S608 - our names


def _values_of_rows(table: Table, columns: Mapping[str, Sequence[Any]], dialect: Dialect) -> list[Any]:
    """Return the values of all rows, one row after the other."""
    values: list[Any] = [None] * sum(map(len, columns.values()))
    for number, (name, column) in enumerate(columns.items()):
        convert = _converter(table, name, dialect)
        values[number :: len(columns)] = column if convert is None else map(convert, column)
    return values


@cache
def _converter(table: Table, name: str, dialect: Dialect) -> Callable[[Any], Any] | None:
    column = table.c[name]
    convert = column.type.dialect_impl(dialect).bind_processor(dialect)
    # Cached, because rows that are inserted together have the same times.
    return lru_cache(_TIMES)(convert) if convert and isinstance(column.type, UTCDateTime) else convert
