"""Pages of lists, numbered from 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Select, func, select

MOST_COUNTED: Final = 200
"""How far a list is counted beyond the end of a page."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Page:
    """The requested part of a list.

    Args:
        number: The number of the page, from 1.
        size: The number of records on a page.
    """

    number: int
    size: int

    def of(self, query: Select[Any]) -> Select[Any]:
        """Restrict an ordered query to the rows of this page."""
        return query.limit(self.size).offset((self.number - 1) * self.size)

    def count_at_end(self, records: Sequence[Any]) -> int | None:
        """Return the length of the list if these records of the page show its end, else ``None``."""
        if len(records) == self.size or (self.number > 1 and not records):
            return None
        return (self.number - 1) * self.size + len(records)

    def part_of(self, found: Sequence[Found]) -> Sequence[Found]:
        """Return the part of a list that belongs to this page."""
        return found[(self.number - 1) * self.size : self.number * self.size]

    @property
    def most_counted(self) -> int:
        """The greatest length that is counted for this page."""
        return self.number * self.size + MOST_COUNTED

    def counting(self, query: Select[Any], at_least: int = 0) -> Select[Any]:
        """Build the query that counts the list, up to ``MOST_COUNTED`` records beyond this page.

        So its time is bounded, and a client that asks for page after page still gets to the end.

        Args:
            query: The list.
            at_least: The number of records that are counted on any page, if there are so many.
        """
        counted = query.limit(max(self.most_counted, at_least)).subquery()
        return select(func.count()).select_from(counted)

    def answer(self, records: Sequence[Any], total: int) -> dict[str, Any]:
        """Make the answer of the protocol from the records of this page and the length of the list."""
        return {"records": records, "page": self.number, "size": self.size, "total": total}
