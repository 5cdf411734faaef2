"""Which sessions a reader asks for, as it stands in the address of the page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final
from urllib.parse import urlencode

from hl_sessions.server.protocol.identifiers import PROJECT, SESSION, identifier_pattern

_DAY: Final = timedelta(days=1)
_LAST_DAY: Final = datetime(9999, 12, 31, tzinfo=timezone.utc)

MAX_SEARCH: Final = 200
"""The longest text to search for, in characters."""

_ID_PATTERNS: Final = {
    "project": re.compile(identifier_pattern(PROJECT)),
    "before": re.compile(identifier_pattern(SESSION)),
    "after": re.compile(identifier_pattern(SESSION)),
}


class InvalidFilterError(ValueError):
    """A parameter of the address that cannot be understood; the message says what it may be."""


@dataclass(frozen=True)
class SessionFilter:
    """Which sessions are wanted; what is ``None`` does not matter.

    Args:
        search: A text that is somewhere in the datapoints of the session, or its ID or reference.
        project_id: A project that has a datapoint in the session.
        from_day: The first day, in UTC, on which the session may have begun, such as ``2026-11-22``.
        until_day: The last such day.
        errors: Whether only sessions with an error are wanted.
    """

    search: str | None = None
    project_id: str | None = None
    from_day: str | None = None
    until_day: str | None = None
    errors: bool = False

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> "SessionFilter":
        """Read the filter off the parameters of an address; those that are empty are as good as left out.

        Raises:
            InvalidFilterError: When one of them cannot be understood.
        """
        for name in ("from", "until"):
            _read_day(name, parameters.get(name))
        return cls(
            search=read_search(parameters),
            project_id=read_identifier(parameters, "project"),
            from_day=parameters.get("from") or None,
            until_day=parameters.get("until") or None,
            errors=bool(parameters.get("errors")),
        )

    @property
    def looks_inside(self) -> bool:
        """Whether the datapoints of each session have to be looked into."""
        return self.errors or self.search is not None

    @property
    def begin(self) -> datetime | None:
        """The first moment at which the session may have begun."""
        return _read_day("from", self.from_day)

    @property
    def end(self) -> datetime | None:
        """The first moment at which it may not have begun any more, unless that is after all of them."""
        day = _read_day("until", self.until_day)
        return None if day is None or day == _LAST_DAY else day + _DAY

    def __bool__(self) -> bool:
        return self != SessionFilter()

    def query(self, **more: str | None) -> str:
        """Give the query of an address, with its question mark; empty without any parameter.

        Args:
            **more: Further parameters; those that are ``None`` are left out.
        """
        parameters = {
            "q": self.search,
            "project": self.project_id,
            "from": self.from_day,
            "until": self.until_day,
            "errors": "1" if self.errors else None,
            **more,
        }
        given = urlencode({name: value for name, value in parameters.items() if value is not None})
        return f"?{given}" if given else ""


@dataclass(frozen=True)
class Cursor:
    """Where a part of the list begins, so that it stays the same whatever is new.

    Args:
        before: The ID of the session after which the part begins, in the order of the list.
        after: The ID of the session before which it ends.
    """

    before: str | None = None
    after: str | None = None

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> "Cursor":
        """Read the cursor off the parameters of an address.

        Raises:
            InvalidFilterError: When one of them is no ID of a session, or both are given.
        """
        cursor = cls(read_identifier(parameters, "before"), read_identifier(parameters, "after"))
        if cursor.before and cursor.after:
            raise InvalidFilterError("before and after exclude each other: leave one of them out")
        return cursor


def read_search(parameters: Mapping[str, str]) -> str | None:
    """Read the text to search for off the parameters of an address.

    Raises:
        InvalidFilterError: When it cannot be in a single line of text, or is too long.
    """
    search = parameters.get("q", "").strip() or None
    if search is not None and (len(search) > MAX_SEARCH or not search.isprintable()):
        raise InvalidFilterError(f"q may be up to {MAX_SEARCH} printable characters in one line")
    return search


def read_identifier(parameters: Mapping[str, str], name: str) -> str | None:
    """Read an ID off the parameters of an address.

    Raises:
        InvalidFilterError: When it is not well-formed.
    """
    value = parameters.get(name) or None
    if value is not None and not _ID_PATTERNS[name].match(value):
        kind = "project, such as pr_..." if name == "project" else "session, such as sesh_..."
        raise InvalidFilterError(f"{name} has to be the ID of a {kind}")
    return value


def _read_day(name: str, value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=timezone.utc)
    except ValueError:
        raise InvalidFilterError(f"{name} has to be a day such as 2026-11-22") from None
