"""A carried session as one text field for each value, as many brokers keep only texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hl_sessions.carrying.message import CARRIED

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["as_fields", "from_fields"]

_PREFIX = f"{CARRIED}_"


def as_fields(data: Mapping[str, str]) -> dict[str, str]:
    """Return the fields for the result of :func:`hl_sessions.carrying.carry`."""
    return {_PREFIX + name: value for name, value in data.items()}


def from_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the argument of :func:`as_fields`, given all fields of a message."""
    return {name.removeprefix(_PREFIX): value for name, value in fields.items() if name.startswith(_PREFIX)}
