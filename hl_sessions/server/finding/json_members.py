"""Members of JSON objects in columns, on both databases."""

from typing import Any, TypeVar

from sqlalchemy import Column, Float, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

Value = TypeVar("Value")


class _Member(FunctionElement[Value]):
    """A member of an object.

    Args:
        column: The column.
        key: The key of the member, without quotes.
    """

    inherit_cache = True

    def __init__(self, column: Column[Any], key: str) -> None:
        # SQLite has a path, in which a backslash is written as in JSON.
        path = '$."{}"'.format(key.replace("\\", "\\\\"))
        super().__init__(column, literal(key), literal(path))


class TextMember(_Member[str]):
    """A member as a text: strings without quotes, everything else as JSON; NULL if it is missing."""

    type = Text()
    inherit_cache = True


class NumberMember(_Member[float]):
    """A member that is a number; NULL if it is none."""

    type = Float()
    inherit_cache = True


@compiles(TextMember)
def _text(element: TextMember, compiler: SQLCompiler, **options: Any) -> str:
    column, key = _column_and_key(element, compiler, **options)
    return f"({column} ->> {key})"


@compiles(TextMember, "sqlite")
def _text_in_sqlite(element: TextMember, compiler: SQLCompiler, **options: Any) -> str:
    column, path = _column_and_path(element, compiler, **options)
    value = f"json_extract({column}, {path})"
    # SQLite has no booleans. It rounds fractions and long integers, except in a list: here beside a null.
    # Its operator ->, which does not round either, is missing in Ubuntu 22.04.
    exactly = f"trim(json_extract({column}, {path}, '$[0]'), '[,nul]')"
    return (
        f"CASE json_type({column}, {path}) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'"
        f" ELSE CASE typeof({value}) WHEN 'real' THEN {exactly} ELSE CAST({value} AS TEXT) END END"
    )


@compiles(NumberMember)
def _number(element: NumberMember, compiler: SQLCompiler, **options: Any) -> str:
    column, key = _column_and_key(element, compiler, **options)
    # An integer may have more digits than a float can hold.
    number = f"LEAST(GREATEST(CAST({column} ->> {key} AS numeric), -1e300), 1e300)"
    return f"CASE json_typeof({column} -> {key}) WHEN 'number' THEN CAST({number} AS double precision) END"


@compiles(NumberMember, "sqlite")
def _number_in_sqlite(element: NumberMember, compiler: SQLCompiler, **options: Any) -> str:
    column, path = _column_and_path(element, compiler, **options)
    return (
        f"CASE WHEN json_type({column}, {path}) IN ('integer', 'real')"
        f" THEN json_extract({column}, {path}) END"
    )


def _column_and_key(element: _Member[Any], compiler: SQLCompiler, **options: Any) -> tuple[str, str]:
    column, key, _ = element.clauses
    return compiler.process(column, **options), compiler.process(key, **options)


def _column_and_path(element: _Member[Any], compiler: SQLCompiler, **options: Any) -> tuple[str, str]:
    column, _, path = element.clauses
    return compiler.process(column, **options), compiler.process(path, **options)
