"""Limits a repeated message to one a minute."""

from time import monotonic
from typing import Final

_BETWEEN: Final = 60.0
"""The least number of seconds between two messages."""


class Rarely:
    """Tells when a message may be repeated."""

    def __init__(self) -> None:
        self._said_at: float | None = None

    def is_time(self) -> bool:
        """Tell whether a minute has passed since the last time this was true."""
        if self._said_at is not None and monotonic() - self._said_at < _BETWEEN:
            return False
        self._said_at = monotonic()
        return True
