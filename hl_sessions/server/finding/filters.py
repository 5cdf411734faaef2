"""The filter and the order of sessions, as the address of the page has them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final
from unicodedata import category
from urllib.parse import urlencode

from hl_sessions.server.finding.filter_language import (
    MAX_TEXT,
    Condition,
    InvalidTermError,
    Term,
    Text,
    parse,
    read_moment,
    write_value,
)
from hl_sessions.server.protocol.identifiers import PROJECT, SESSION, identifier_pattern

MAX_FILTER: Final = 1_000
"""The longest filter, in characters."""

SORTS: Final = ("began", "active", "datapoints", "duration", "errors", "tokens", "cost", "user", "name")
"""The columns that the list can be sorted by."""

DEFAULT_SORT: Final = "-began"
"""The newest first."""

_BY_LETTERS: Final = frozenset({"user", "name"})
"""The columns that are sorted in ascending order at first."""

_QUICK: Final = frozenset({"project", "began"})
"""The columns for whose order there is an index."""

_OUTSIDE_OF_LINES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""The categories of characters that no line of text has: controls, halves of pairs, ends of lines."""

_ID_PATTERNS: Final = {
    "project": re.compile(identifier_pattern(PROJECT)),
    "before": re.compile(identifier_pattern(SESSION)),
    "after": re.compile(identifier_pattern(SESSION)),
}


class InvalidFilterError(ValueError):
    """A parameter of the address that cannot be understood; the message names the allowed values.

    Args:
        problem: The allowed values; the message has the name of the parameter before them.
        parameter: Its name, if the address makes sense without it.
    """

    def __init__(self, problem: str, parameter: str | None = None) -> None:
        super().__init__(problem if parameter is None else f"{parameter} {problem}")
        self.problem = problem
        self.parameter = parameter


@dataclass(frozen=True)
class SessionFilter:
    """The wanted sessions and their order; ``None`` is no condition.

    Args:
        search: A filter as it is typed: see ``filter_language``.
        project_id: A project with a datapoint in the session.
        from_day: The first day, in UTC, on which the session may have begun, such as ``2026-11-22``.
        until_day: The last such day.
        errors: Whether only sessions with an error are wanted.
        sort: One of ``SORTS``, after a minus for descending order; ``None``: newest first.
    """

    search: str | None = None
    project_id: str | None = None
    from_day: str | None = None
    until_day: str | None = None
    errors: bool = False
    sort: str | None = None

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> "SessionFilter":
        """Read the filter from the parameters of an address; empty parameters are ignored.

        Raises:
            InvalidFilterError: When one of them cannot be understood.
        """
        return cls(
            search=_read_filter(parameters),
            project_id=read_identifier(parameters, "project"),
            from_day=_read_day(parameters, "from"),
            until_day=_read_day(parameters, "until"),
            errors=bool(parameters.get("errors")),
            sort=_read_sort(parameters),
        )

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The terms from all parameters."""
        return (*parse(self.search or ""), *self._terms_of_fields())

    def _terms_of_fields(self) -> Iterator[Term]:
        if self.project_id is not None:
            yield Condition("project", "=", self.project_id)
        for operator, day in ((">=", self.from_day), ("<=", self.until_day)):
            moment = read_moment(day) if day is not None else None
            if moment is not None:
                yield Condition("began", operator, moment)
        if self.errors:
            yield Condition("errors", ">", 0)

    @property
    def looks_inside(self) -> bool:
        """Whether the datapoints of many sessions have to be read."""
        return self.sort is not None or any(
            isinstance(term, Text) or term.name not in _QUICK for term in self.terms
        )

    def __bool__(self) -> bool:
        return bool(self.terms)

    @property
    def order(self) -> str:
        """The column that the list is sorted by, after a minus for descending order."""
        return self.sort or DEFAULT_SORT

    def sorted_by(self, column: str) -> "SessionFilter":
        """Return the same filter in the order of a column, or in the reverse order if it has that already."""
        first = column if column in _BY_LETTERS else f"-{column}"
        other = column if first.startswith("-") else f"-{column}"
        sort = other if self.order == first else first
        return replace(self, sort=None if sort == DEFAULT_SORT else sort)

    def narrowed(self, name: str, operator: str, value: str) -> "SessionFilter | None":
        """Return the same filter with a further condition; ``None`` if no filter can have it."""
        condition = f"{name}{operator}{write_value(value)}"
        search = condition if self.search is None else f"{self.search} {condition}"
        try:
            return replace(self, search=_read_filter({"q": search}))
        except InvalidFilterError:
            return None

    def written(self, project: str | None = None) -> str:
        """Return the whole filter as it can be typed into the field to search.

        Args:
            project: The name of its project, to be written in place of the ID.
        """
        project = project or self.project_id
        terms = (
            self.search,
            project and f"project:{write_value(project)}",
            self.from_day and f"began>={self.from_day}",
            self.until_day and f"began<={self.until_day}",
            "errors>0" if self.errors else None,
        )
        return " ".join(term for term in terms if term)

    def query(self, **more: str | None) -> str:
        """Return the query of an address, with its question mark; empty without parameters.

        Args:
            **more: Further parameters; those that are ``None`` are left out.
        """
        parameters = {
            "q": self.search,
            "project": self.project_id,
            "from": self.from_day,
            "until": self.until_day,
            "errors": "1" if self.errors else None,
            "sort": self.sort,
            **more,
        }
        given = urlencode({name: value for name, value in parameters.items() if value is not None})
        return f"?{given}" if given else ""


@dataclass(frozen=True)
class Cursor:
    """The place where a part of the list begins, so that new sessions do not change the part.

    Args:
        before: The ID of the session after which the part begins, in the order of the list.
        after: The ID of the session before which it ends.
    """

    before: str | None = None
    after: str | None = None

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> "Cursor":
        """Read the cursor from the parameters of an address.

        Raises:
            InvalidFilterError: When one of them is no ID of a session, or both are given.
        """
        cursor = cls(read_identifier(parameters, "before"), read_identifier(parameters, "after"))
        if cursor.before and cursor.after:
            raise InvalidFilterError("before and after exclude each other: leave one of them out")
        return cursor


def read_what_is_valid(parameters: Mapping[str, str]) -> tuple[SessionFilter, list[InvalidFilterError]]:
    """Read the filter from the valid parameters only.

    Returns:
        The filter, and the errors of the other parameters.
    """
    try:
        return SessionFilter.read(parameters), []
    except InvalidFilterError as error:
        first = error
    rest = {name: value for name, value in parameters.items() if name != first.parameter}
    wanted, others = read_what_is_valid(rest)
    return wanted, [first, *others]


def query_for(name: str, value: str) -> str | None:
    """Return the query of an address for sessions with a value; ``None`` if no filter can have it."""
    wanted = SessionFilter().narrowed(name, ":", value)
    return None if wanted is None else wanted.query()


def read_search(parameters: Mapping[str, str]) -> str | None:
    """Read the text to search for from the parameters of an address.

    Raises:
        InvalidFilterError: When it is not a single line of text, or is too long.
    """
    return _read_line(parameters, MAX_TEXT)


def read_identifier(parameters: Mapping[str, str], name: str) -> str | None:
    """Read an ID from the parameters of an address.

    Raises:
        InvalidFilterError: When it is not well-formed.
    """
    value = parameters.get(name) or None
    if value is not None and not _ID_PATTERNS[name].match(value):
        kind = "project, such as pr_..." if name == "project" else "session, such as sesh_..."
        raise InvalidFilterError(f"has to be the ID of a {kind}", name)
    return value


def is_line(text: str) -> bool:
    """Tell whether a text is one line, of whatever script: some of them need characters without a glyph."""
    return not any(category(character) in _OUTSIDE_OF_LINES for character in text)


def _read_line(parameters: Mapping[str, str], longest: int) -> str | None:
    text = parameters.get("q", "").strip() or None
    if text is not None and (len(text) > longest or not is_line(text)):
        problem = f"may be up to {longest:,} characters in one line, without control characters"
        raise InvalidFilterError(problem, "q")
    return text


def _read_filter(parameters: Mapping[str, str]) -> str | None:
    text = _read_line(parameters, MAX_FILTER)
    try:
        parse(text or "")
    except InvalidTermError as error:
        problem = f"cannot be understood at character {error.position}: {error}"
        raise InvalidFilterError(problem, "q") from None
    return text


def _read_day(parameters: Mapping[str, str], name: str) -> str | None:
    value = parameters.get(name) or None
    if value is not None and (read_moment(value) is None or "T" in value):
        raise InvalidFilterError("has to be a day such as 2026-11-22", name)
    return value


def _read_sort(parameters: Mapping[str, str]) -> str | None:
    value = parameters.get("sort") or None
    if value is not None and value.removeprefix("-") not in SORTS:
        raise InvalidFilterError(f"may be {', '.join(SORTS)}, or one of them after a minus", "sort")
    return None if value == DEFAULT_SORT else value
