"""Pages of lists, which count from 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select


@dataclass(frozen=True)
class Page:
    """Which part of a list is wanted.

    Args:
        number: The number of the page, from 1.
        size: How many records a page holds.
    """

    number: int
    size: int

    def of(self, query: Select[Any]) -> Select[Any]:
        """Restrict an ordered query to the rows of this page."""
        return query.limit(self.size).offset((self.number - 1) * self.size)

    def answer(self, records: Sequence[Any], total: int) -> dict[str, Any]:
        """Make the answer of the protocol from the records of this page and the length of the whole list."""
        return {"records": records, "page": self.number, "size": self.size, "total": total}
