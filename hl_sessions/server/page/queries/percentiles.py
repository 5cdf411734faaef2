"""Percentiles of measured values."""

from collections.abc import Iterable
from math import ceil


def percentiles(values: Iterable[float], *shares: float) -> list[float | None]:
    """Return, for each share, the smallest value that at least this share of the values does not exceed.

    It is ``None`` without values.
    """
    ordered = sorted(values)
    return [ordered[ceil(share * len(ordered)) - 1] if ordered else None for share in shares]
