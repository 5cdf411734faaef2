"""The description of a session: the types and limits of its fields."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from typing import Any, Final

from hl_sessions.datapoints.fields import check
from hl_sessions.datapoints.plain import plain

__all__ = ["read_session_fields"]

_LABELS: Final = ("name", "user")
_LONGEST_LABEL: Final = 512  # characters; the limit of the API


def read_session_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have a value, with name and user as texts.

    Raises:
        TypeError: a field is of the wrong type, or unknown.
        ValueError: a label is too long.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"the fields of a session must be a dict, not {type(given).__name__}")
    if unknown := [name for name in given if name not in {*_LABELS, "metadata"}]:
        raise TypeError(f"{unknown[0]!r} is no field of a session, which has name, user and metadata")
    fields = {name: _label(name, given[name]) for name in _LABELS if given.get(name) is not None}
    metadata = given.get("metadata")
    if metadata is None:
        return fields
    kept, problems = check({"metadata": metadata})
    if problems:
        raise TypeError(f"{problems[0]}: give it names and values")
    return {**fields, **kept}


def _label(name: str, value: Any) -> str:
    if isinstance(value, (enum.Enum, uuid.UUID)):
        value = plain(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise TypeError(
            f"{name} must be a str, an int, a uuid.UUID or an enum.Enum, not {type(value).__name__}"
        )
    if len(value) > _LONGEST_LABEL:
        raise ValueError(
            f"{name}={value[:20] + '...'!r} has {len(value):,} characters, and may have {_LONGEST_LABEL}:"
            " put what is longer into metadata"
        )
    return value
