"""Searches a text in a column regardless of case, with the same result on every database."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import Boolean, Column, ColumnElement, Text, and_, cast, func, literal, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_LETTERS: Final = range(0x80, 0x20000)
"""The range of code points, beyond A to Z, that contains all letters with upper and lower case."""


class _Condition(FunctionElement[bool]):
    """A function that is true or false."""

    type = Boolean()

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stay a condition: if SQLAlchemy compared it with 1, SQLite would compute all of its parts."""
        return self


class _Like(_Condition):
    """Tells whether its first argument matches the second one, a pattern of LIKE, regardless of case."""

    inherit_cache = True


class _LikeASCII(_Condition):
    """The same for a pattern of ASCII, whose letters have only the cases of A to Z."""

    inherit_cache = True


class _Glob(_Condition):
    """Tells whether its first argument matches the second one, a pattern of GLOB with sets of letters."""

    inherit_cache = True


class _OnSQLite(_Condition):
    """Stands for its first argument on SQLite, and for the second one elsewhere."""

    inherit_cache = True


def text_contains(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Return the condition that a column of text contains ``text``, regardless of case."""
    pattern = literal(f"%{''.join(map(_escaped, text))}%")
    if text.isascii():
        return _LikeASCII(column, pattern)
    like = _Like(column, pattern)
    if all(len(_set_of_cases(letter)) == 1 for letter in text):
        # For letters without case, as in Chinese, comparing bytes takes half the time.
        return _OnSQLite(func.instr(column, text) > 0, like)
    if not any(map(_is_beyond_like, text)):
        return like
    # SQLite's LIKE knows only the cases of A to Z. A function of this program would know all, but would hold
    # its interpreter for each row. So LIKE finds candidates, with any letter in the place of those that it
    # does not know, and GLOB decides. GLOB is fast if its pattern begins with one letter.
    maybe = ["_" if _is_beyond_like(letter) else _escaped(letter) for letter in text]
    rest = "".join(map(_set_of_cases, text[1:]))
    certainly = [_Glob(column, literal(f"*{first}{rest}*")) for first in _cases(text[0])]
    # A pattern that begins with a wildcard takes longer, and one of wildcards only excludes nothing.
    while maybe and maybe[0] == "_":
        del maybe[0]
    on_sqlite = and_(_Like(column, literal(f"%{''.join(maybe)}%")), or_(*certainly))
    return _OnSQLite(on_sqlite if maybe else or_(*certainly), like)


def json_contains(column: Column[Any], text: str) -> ColumnElement[bool]:
    """Return the condition that the keys and values of a column of JSON contain ``text``."""
    return text_contains(cast(column, Text), to_json(text).decode()[1:-1])


def _escaped(letter: str) -> str:
    return f"\\{letter}" if letter in r"\%_" else letter


def _is_beyond_like(letter: str) -> bool:
    return not letter.isascii() and len(_cases(letter)) > 1


def _set_of_cases(letter: str) -> str:
    cases = _cases(letter)
    return f"[{''.join(cases)}]" if len(cases) > 1 else cases[0]


def _cases(letter: str) -> list[str]:
    """Return the letter in lower and in upper case, as a pattern of GLOB."""
    lower = letter.lower()
    if letter.isascii():
        upper = letter.upper()
        return [lower, upper] if lower != upper else [f"[{letter}]" if letter in "*?[" else letter]
    return [lower, *_upper_cases()[lower]] if lower in _upper_cases() else [letter]


@cache
def _upper_cases() -> Mapping[str, str]:
    """Return the upper-case letters by their lower-case letter, beyond A to Z; some, such as å, have two."""
    upper_cases: dict[str, str] = {}
    for letter in map(chr, _LETTERS):
        lower = letter.lower()
        if lower != letter and len(lower) == 1 and not lower.isascii():
            upper_cases[lower] = upper_cases.get(lower, "") + letter
    return upper_cases


@compiles(_Like)
def _compile_like(element: _Like, compiler: SQLCompiler, **options: Any) -> str:
    column, pattern = (compiler.process(part, **options) for part in element.clauses)
    return rf"{column} ILIKE {pattern} ESCAPE '\'"


@compiles(_LikeASCII)
def _compile_like_ascii(element: _LikeASCII, compiler: SQLCompiler, **options: Any) -> str:
    column, pattern = (compiler.process(part, **options) for part in element.clauses)
    # Otherwise the database would turn every text into letters of Unicode, which takes several times as long.
    return rf"""({column} COLLATE "C") ILIKE {pattern} ESCAPE '\'"""


@compiles(_Like, "sqlite")
@compiles(_LikeASCII, "sqlite")
def _compile_like_for_sqlite(element: _Like | _LikeASCII, compiler: SQLCompiler, **options: Any) -> str:
    column, pattern = (compiler.process(part, **options) for part in element.clauses)
    return rf"{column} LIKE {pattern} ESCAPE '\'"


@compiles(_Glob)
def _compile_glob(element: _Glob, compiler: SQLCompiler, **options: Any) -> str:
    column, pattern = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} GLOB {pattern}"


@compiles(_OnSQLite)
def _compile_elsewhere(element: _OnSQLite, compiler: SQLCompiler, **options: Any) -> str:
    _, elsewhere = element.clauses
    return compiler.process(elsewhere, **options)


@compiles(_OnSQLite, "sqlite")
def _compile_on_sqlite(element: _OnSQLite, compiler: SQLCompiler, **options: Any) -> str:
    on_sqlite, _ = element.clauses
    return f"({compiler.process(on_sqlite, **options)})"
