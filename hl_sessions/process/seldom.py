"""Messages that are repeated only after a while."""

from __future__ import annotations

import time

__all__ = ["Seldom"]

PAUSE = 60.0  # seconds
MOST_REMEMBERED = 100


class Seldom:
    """Decides for different messages whether to log them, or to log them again."""

    def __init__(self) -> None:
        self._said: dict[object, float] = {}

    def is_due(self, thing: object) -> bool:
        """Whether it was not due within the last minute. If so, it counts as logged now."""
        now = time.monotonic()
        if now - self._said.get(thing, -PAUSE) < PAUSE:
            return False
        if len(self._said) >= MOST_REMEMBERED:
            self._said.clear()
        self._said[thing] = now
        return True
