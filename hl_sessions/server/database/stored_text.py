"""Measures the text of a column, JSON or not, and reads it piece by piece in UTF-8."""

from typing import Any

from sqlalchemy import ColumnElement, Integer, LargeBinary, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class _Octets(FunctionElement[int]):
    """The length of its argument in UTF-8, in bytes."""

    type = Integer()
    inherit_cache = True


class _Piece(FunctionElement[bytes]):
    """Bytes of its first argument in UTF-8: from the position of the second, as many as the third."""

    type = LargeBinary()
    inherit_cache = True


def octets_of(column: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the length of a text or of JSON, in bytes; null for null."""
    return _Octets(column)


def piece_of(column: ColumnElement[Any], start: int, stop: int) -> ColumnElement[bytes]:
    """Return the bytes of a text or of JSON from ``start`` to before ``stop``, counted from 0."""
    return _Piece(column, literal(start + 1), literal(stop - start))


@compiles(_Octets)
def _octets(element: _Octets, compiler: SQLCompiler, **options: Any) -> str:
    return f"octet_length(CAST({compiler.process(element.clauses, **options)} AS TEXT))"


@compiles(_Octets, "sqlite")
def _octets_in_sqlite(element: _Octets, compiler: SQLCompiler, **options: Any) -> str:
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"


@compiles(_Piece)
def _piece(element: _Piece, compiler: SQLCompiler, **options: Any) -> str:
    column, start, count = (compiler.process(part, **options) for part in element.clauses)
    return f"substr(convert_to(CAST({column} AS TEXT), 'UTF8'), {start}, {count})"


@compiles(_Piece, "sqlite")
def _piece_in_sqlite(element: _Piece, compiler: SQLCompiler, **options: Any) -> str:
    column, start, count = (compiler.process(part, **options) for part in element.clauses)
    return f"substr(CAST({column} AS BLOB), {start}, {count})"
