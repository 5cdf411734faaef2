"""Values of a query, in parts that one statement can name."""

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

_NAMED_AT_ONCE: Final = 1000
"""How many values one statement names; no database takes any number of them."""

Value = TypeVar("Value")


def in_parts(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Return the values in parts, each short enough for one statement."""
    return (values[start : start + _NAMED_AT_ONCE] for start in range(0, len(values), _NAMED_AT_ONCE))
