"""The findings of the doctor, and how bad they are."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

__all__ = ["Finding", "Mark"]


class Mark(Enum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "-"
    WARNING = "warning"
    WRONG = "wrong"


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        mark: how bad it is.
        text: what was found.
        remedy: what to do about it, empty if there is nothing to do.
    """

    mark: Mark
    text: str
    remedy: str = ""
