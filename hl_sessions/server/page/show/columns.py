"""The columns of the list of sessions, and which of them a reader has chosen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class ListColumn:
    """A column of the list.

    Args:
        name: How it is called in an address, and where it is styled.
        label: Its heading.
        sort: What the list is sorted by on a click on the heading; ``None``: nothing.
        is_number: Whether it holds numbers.
        is_chosen: Whether readers see it who have chosen nothing.
    """

    name: str
    label: str
    sort: str | None = None
    is_number: bool = False
    is_chosen: bool = False


LINKING: Final = "input"
"""The column that is always there, as it leads to the session."""

COLUMNS: Final = (
    ListColumn("when", "Began", "began", is_chosen=True),
    ListColumn("active", "Last active", "active"),
    ListColumn("session-name", "Name", "name"),
    ListColumn(LINKING, "First input", is_chosen=True),
    ListColumn("output", "Last output", is_chosen=True),
    ListColumn("projects", "Projects", is_chosen=True),
    ListColumn("user", "User", "user"),
    ListColumn("model", "Model"),
    ListColumn("datapoints", "Datapoints", "datapoints", is_number=True, is_chosen=True),
    ListColumn("duration", "Duration", "duration", is_number=True, is_chosen=True),
    ListColumn("errors", "Errors", "errors", is_number=True, is_chosen=True),
    ListColumn("tokens", "Tokens", "tokens", is_number=True),
    ListColumn("cost", "Cost", "cost", is_number=True),
)
"""All of them, in their order."""

_SEPARATOR: Final = "."
"""Stands between their names: neither a cookie nor an address has to quote it."""


def choose(names: Iterable[str]) -> Sequence[ListColumn]:
    """Return the columns of these names, and the one that is always there; unknown names are nothing."""
    chosen = {LINKING, *names}
    return [column for column in COLUMNS if column.name in chosen]


def read_columns(text: str | None) -> Sequence[ListColumn]:
    """Return the columns that a text of ``write_columns`` names; without one, the usual ones."""
    if not text:
        return [column for column in COLUMNS if column.is_chosen]
    return choose(text.split(_SEPARATOR))


def write_columns(columns: Iterable[ListColumn]) -> str:
    """Return the names of columns as one text."""
    return _SEPARATOR.join(column.name for column in columns)
