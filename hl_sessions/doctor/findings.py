"""The findings of the doctor, and their severity."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

__all__ = ["Finding", "Mark"]


class Mark(Enum):
    """The severity of a finding."""

    OK = "ok"
    NOTE = "-"
    WARNING = "warning"
    WRONG = "wrong"


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        mark: its severity.
        text: the result.
        remedy: the way out, empty if none is needed.
    """

    mark: Mark
    text: str
    remedy: str = ""
