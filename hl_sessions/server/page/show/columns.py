"""The columns of the list of sessions, and those that a reader has chosen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from hl_sessions.server.finding.filter_language import Condition
from hl_sessions.server.finding.filters import SessionFilter


@dataclass(frozen=True)
class ListColumn:
    """A column of the list.

    Args:
        name: Its name in addresses and style sheets.
        label: Its heading.
        sort: The name of the order that a click on the heading chooses; ``None``: no order.
        is_number: Whether it holds numbers.
        is_chosen: Whether it is shown by default.
    """

    name: str
    label: str
    sort: str | None = None
    is_number: bool = False
    is_chosen: bool = False


LINKING: Final = "input"
"""The column that is always shown, because it links to the session."""

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
"""All columns, in their order."""

_COMPARISONS: Final = ("<", "<=", ">", ">=")

_SEPARATOR: Final = "."
"""Separates their names; neither cookies nor addresses have to quote it."""


def choose(names: Iterable[str]) -> Sequence[ListColumn]:
    """Return the columns of these names, and the one that is always shown; unknown names are ignored."""
    chosen = {LINKING, *names}
    return [column for column in COLUMNS if column.name in chosen]


def with_compared(columns: Iterable[ListColumn], wanted: SessionFilter) -> Sequence[ListColumn]:
    """Return the columns, and those that the list is sorted by, or whose values its filter compares."""
    compared = {
        term.name for term in wanted.terms if isinstance(term, Condition) and term.operator in _COMPARISONS
    }
    if wanted.sort is not None:
        compared.add(wanted.sort.removeprefix("-"))
    return choose(column.name for column in COLUMNS if column in columns or column.sort in compared)


def read_columns(text: str | None) -> Sequence[ListColumn]:
    """Return the columns in a text of ``write_columns``; without one, the default columns."""
    if not text:
        return [column for column in COLUMNS if column.is_chosen]
    return choose(text.split(_SEPARATOR))


def write_columns(columns: Iterable[ListColumn]) -> str:
    """Return the names of columns as one text."""
    return _SEPARATOR.join(column.name for column in columns)
