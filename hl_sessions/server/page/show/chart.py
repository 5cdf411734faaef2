"""Charts as shapes in units of their own, which the page stretches to its width."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor, log10
from typing import Final

WIDTH: Final = 1000
HEIGHT: Final = 100

_GAP: Final = 0.2
"""The part of the place of a bar that stays free."""


@dataclass(frozen=True)
class Bar:
    """A bar of a chart, from the bottom up; the part ``marked`` of its ``height`` stands out."""

    x: float
    width: float
    height: float
    marked: float


def round_up(value: float) -> float:
    """Return the next round number, with one digit and zeros, for the top of a chart."""
    if value <= 0:
        return 1
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 3, 4, 5, 6, 8, 10) if value <= step * power * (1 + 1e-9))


def draw_bars(values: Sequence[tuple[int, int]], top: float) -> list[Bar]:
    """Draw a bar for each value.

    Args:
        values: The values, and the part of each that stands out.
        top: The value at the top of the chart.
    """
    place = WIDTH / max(len(values), 1)
    return [
        Bar(
            x=(index + _GAP / 2) * place,
            width=place * (1 - _GAP),
            height=value / top * HEIGHT,
            # One error among thousands stays visible.
            marked=max(marked / top * HEIGHT, 2) if marked else 0,
        )
        for index, (value, marked) in enumerate(values)
    ]


def draw_line(values: Sequence[float | None], top: float) -> list[str]:
    """Return the points of each unbroken part of a line through the middles of the places."""
    place = WIDTH / max(len(values), 1)
    lines = []
    for is_there, part in groupby(enumerate(values), lambda pair: pair[1] is not None):
        if is_there:
            points = [((index + 0.5) * place, HEIGHT - (value or 0) / top * HEIGHT) for index, value in part]
            if len(points) == 1:
                # A single value is a dash as wide as its place.
                ((x, y),) = points
                points = [(x - place / 2, y), (x + place / 2, y)]
            lines.append(" ".join(f"{x:.1f},{y:.2f}" for x, y in points))
    return lines


def pick_labels(count: int, wanted: int) -> list[int]:
    """Choose which of ``count`` places get a label below: about ``wanted`` of them, evenly apart."""
    return list(range(0, count, max(ceil(count / wanted), 1)))
