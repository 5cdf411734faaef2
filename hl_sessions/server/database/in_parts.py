"""Splits the values of a query into parts that fit into one statement."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

_NAMED_AT_ONCE: Final = 1000
"""The number of values in one statement; databases limit it."""

Value = TypeVar("Value")


def in_parts(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Yield the values in parts, each short enough for one statement."""
    return (values[start : start + _NAMED_AT_ONCE] for start in range(0, len(values), _NAMED_AT_ONCE))


def in_parts_of_size(
    sizes: Iterable[tuple[Value, int]], most: int, *, count: int = _NAMED_AT_ONCE
) -> Iterator[list[Value]]:
    """Yield the values in parts of limited total size.

    Args:
        sizes: The values, each with its size.
        most: The largest size of a part, unless it has only one value.
        count: The largest number of values in a part.
    """
    part: list[Value] = []
    total = 0
    for value, size in sizes:
        if part and (total + size > most or len(part) == count):
            yield part
            part, total = [], 0
        part.append(value)
        total += size
    if part:
        yield part
