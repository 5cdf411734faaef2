"""Copies of the fields of a datapoint at one moment, which later changes of the objects do not affect.

They become JSON only later, in the sending thread: Python's own format takes a seventh of the time.
"""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, Any, Final

from hl_sessions.datapoints.fields import check
from hl_sessions.datapoints.values import MOST_LEVELS, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable


__all__ = ["fix", "fixed_fields"]

VERSION = 2  # later ones note identical objects, which takes time and is not needed

_UNCHANGING: Final = frozenset({str, int, float, bool, type(None), bytes})


def fix(fields: dict[str, Any]) -> tuple[bytes, tuple[str, ...]]:
    """Return a copy of the fields for :func:`fixed_fields`, and the problems with values not kept."""
    try:
        fixed = marshal.dumps(fields, VERSION)
        if _are_plain(fields.values(), MOST_LEVELS):
            return fixed, ()
    except (ValueError, RecursionError):  # there is a value of another type, or a cycle
        pass
    checked = check(fields)
    taken = snapshot(checked.fields)
    return marshal.dumps(taken.fields, VERSION), checked.problems + taken.problems


def fixed_fields(parts: Iterable[bytes]) -> dict[str, Any]:
    """Return the fields of some parts; of fields in several parts, the last one."""
    fields: dict[str, Any] = {}
    for part in parts:
        fields.update(marshal.loads(part))  # noqa: S302 - this process has written them
    return fields


def _are_plain(values: Iterable[Any], levels: int) -> bool:
    """Whether values are of Python's plain types, and nested no deeper than so many levels.

    :mod:`marshal` would store an array as its bytes.
    """
    if not levels:
        return False
    for value in values:
        kind = type(value)
        if kind in _UNCHANGING:
            continue
        if kind is dict:
            for name in value:
                if type(name) is not str:
                    return False
            if not _are_plain(value.values(), levels - 1):
                return False
        elif not ((kind is list or kind is tuple) and _are_plain(value, levels - 1)):
            return False
    return True
