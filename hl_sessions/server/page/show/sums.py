"""Sums over time, and the largest ones by name."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from hl_sessions.server.page.queries.activity import Span
from hl_sessions.server.page.queries.sums import MOST_NAMES, NamedSums, Sums

MOST_ROWS: Final = 20
"""The number of names that are shown, those with the most datapoints."""

_FIRST_MONDAY: Final = datetime(1970, 1, 5, tzinfo=timezone.utc)
_SPANS: Final = tuple(timedelta(hours=hours) for hours in (1, 4, 24, 7 * 24, 28 * 24, 364 * 24))
_FEWEST_SPANS: Final = 12
_MOST_SPANS: Final = 60


@dataclass(frozen=True)
class LargestSums:
    """The sums of the names with the most datapoints.

    Args:
        rows: The names with their sums, the largest first.
        others: The number of further names.
        is_cut: Whether there may be even more.
    """

    rows: Sequence[tuple[str | None, Sums]]
    others: int
    is_cut: bool


def spread(hours: Mapping[datetime, Sums]) -> tuple[timedelta, list[Span]]:
    """Combine hours into consecutive spans of time, few enough for a chart.

    Args:
        hours: The sums of at least one hour, by the start of the hour.

    Returns:
        The length of a span, and the spans.
    """
    first, last = min(hours), max(hours)
    span = next((span for span in _SPANS if (last - first) / span < _MOST_SPANS - 1), _SPANS[-1])
    by_number: dict[int, Sums] = defaultdict(Sums)
    for hour, sums in hours.items():
        by_number[(hour - _FIRST_MONDAY) // span].add(sums)
    end = max(by_number)
    numbers = range(min(*by_number, end - _FEWEST_SPANS + 1), end + 1)
    return span, [_span(_FIRST_MONDAY + number * span, by_number[number]) for number in numbers]


def _span(begin: datetime, sums: Sums) -> Span:
    median, slowest = sums.duration_percentiles
    return Span(begin, sums.sessions, sums.datapoints, sums.errors, median, slowest)


def largest(named: NamedSums) -> LargestSums:
    """Choose the names to show."""
    rows = sorted(named.items(), key=lambda item: item[1].datapoints, reverse=True)
    others = max(len(rows) - MOST_ROWS, 0)
    return LargestSums(rows[:MOST_ROWS], others, is_cut=len(named) == MOST_NAMES)
