"""Looking for a text in a column, in upper or lower case, with the same result on every database."""

from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import Boolean, Column, ColumnElement, Text, cast, func, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

UNICODE_LOWER: Final = "hl_sessions_lower"
"""The function that SQLite is given, which itself knows no other letters than A to Z."""


class _Like(FunctionElement[bool]):
    """Tells whether its first argument is like the second one, a pattern."""

    type = Boolean()
    inherit_cache = True


class _LikeInLowerCase(_Like):
    """The same for a pattern in lower case with letters beyond A to Z."""

    inherit_cache = True


def text_contains(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Give the condition that a column of text holds ``text``, in upper or lower case."""
    escaped = text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    if text.isascii():
        return _Like(column, literal(f"%{escaped}%"))
    return _LikeInLowerCase(column, literal(f"%{escaped.lower()}%"))


def json_contains(column: Column[Any], text: str) -> ColumnElement[bool]:
    """Give the condition that the keys and values of a column of JSON hold ``text``."""
    return text_contains(cast(column, Text), to_json(text).decode()[1:-1])


@compiles(_Like)
def _compile_like(element: _Like, compiler: SQLCompiler, **options: Any) -> str:
    column, pattern = (compiler.process(part, **options) for part in element.clauses)
    return rf"{column} ILIKE {pattern} ESCAPE '\'"


@compiles(_Like, "sqlite")
def _compile_like_for_sqlite(element: _Like, compiler: SQLCompiler, **options: Any) -> str:
    column, pattern = (compiler.process(part, **options) for part in element.clauses)
    return rf"{column} LIKE {pattern} ESCAPE '\'"


@compiles(_LikeInLowerCase, "sqlite")
def _compile_like_in_lower_case(element: _Like, compiler: SQLCompiler, **options: Any) -> str:
    column, pattern = element.clauses
    lower = compiler.process(getattr(func, UNICODE_LOWER)(column), **options)
    return rf"{lower} LIKE {compiler.process(pattern, **options)} ESCAPE '\'"
