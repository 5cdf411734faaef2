"""A row of the report: our figure beside the others, and our limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LIMIT", "OURS", "SECONDS", "TIMES", "Row", "formatted", "limited", "within"]

OURS = "hl-sessions"
LIMIT = "hand-written"  # sets one context variable, runs the same thing, and resets it: none can do less
SECONDS = "s"
TIMES = "\N{MULTIPLICATION SIGN}"
_SECOND_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


@dataclass(frozen=True)
class Row:
    """One thing that was measured; less is better.

    Attributes:
        title: the measured action.
        unit: the unit of the figures; :data:`SECONDS` are shown in a handy unit.
        figures: by name, ours among them.
        at_most: the most that ours may be.
        reference: the name of the figure that ``at_most`` is a multiple of; ``None``: it is absolute.
    """

    title: str
    unit: str
    figures: Mapping[str, float]
    at_most: float
    reference: str | None

    @property
    def ours(self) -> float:
        """Our figure."""
        return self.figures[OURS]

    @property
    def is_within_reach(self) -> bool:
        """Whether it is as good as it has to be."""
        return self.ours <= self.at_most

    @property
    def ratio(self) -> float | None:
        """Our figure as a multiple of the reference."""
        return None if self.reference is None else self.ours / self.figures[self.reference]

    @property
    def at_most_text(self) -> str:
        """Our limit, as a text."""
        if self.reference is None:
            return formatted(self.at_most, self.unit)
        return f"{self.at_most / self.figures[self.reference]:.3g} {TIMES} {self.reference}"


def limited(title: str, figures: Mapping[str, float], times: float, reference: str = LIMIT) -> Row:
    """Return a row of seconds, in which ours may be so many times the reference."""
    return Row(title, SECONDS, figures, times * figures[reference], reference)


def within(title: str, unit: str, figures: Mapping[str, float], at_most: float) -> Row:
    """Return a row in which ours has an absolute bound."""
    return Row(title, unit, figures, at_most, None)


def formatted(figure: float, unit: str) -> str:
    """Return a figure with its unit, as it is written."""
    if unit != SECONDS:
        return f"{figure:,.0f} {unit}".rstrip()
    unit, size = next((one for one in _SECOND_UNITS if abs(figure) >= one[1]), _SECOND_UNITS[-1])
    return f"{figure / size:,.{0 if abs(figure) >= 100 * size else 1}f} {unit}"
