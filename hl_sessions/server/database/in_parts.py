"""Values of a query, in parts that one statement can name."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

_NAMED_AT_ONCE: Final = 1000
"""How many values one statement names; no database takes any number of them."""

Value = TypeVar("Value")


def in_parts(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Return the values in parts, each short enough for one statement."""
    return (values[start : start + _NAMED_AT_ONCE] for start in range(0, len(values), _NAMED_AT_ONCE))


def in_parts_of_size(
    sizes: Iterable[tuple[Value, int]], most: int, *, count: int = _NAMED_AT_ONCE
) -> Iterator[list[Value]]:
    """Return values in parts that have a size all together.

    Args:
        sizes: The values, each with its size.
        most: The largest size of a part, but for one of a single value.
        count: How many values a part may have.
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
