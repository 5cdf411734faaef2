"""Says the same thing once a minute, however often there is a reason to."""

from time import monotonic
from typing import Final

_BETWEEN: Final = 60.0
"""The shortest time, in seconds, from saying it to saying it again."""


class Rarely:
    """Tells when it is time to say something again."""

    def __init__(self) -> None:
        self._said_at: float | None = None

    def is_time(self) -> bool:
        """Tell whether a minute has passed since the answer was yes."""
        if self._said_at is not None and monotonic() - self._said_at < _BETWEEN:
            return False
        self._said_at = monotonic()
        return True
