"""What is said again only after a while."""

from __future__ import annotations

import time

__all__ = ["Seldom"]

PAUSE = 60.0  # seconds
MOST_REMEMBERED = 100


class Seldom:
    """Tells of different things whether it is time to say them, or say them again."""

    def __init__(self) -> None:
        self._said: dict[object, float] = {}

    def is_due(self, thing: object) -> bool:
        """Whether it was not due within the last minute; then it counts as said."""
        now = time.monotonic()
        if now - self._said.get(thing, -PAUSE) < PAUSE:
            return False
        if len(self._said) >= MOST_REMEMBERED:
            self._said.clear()
        self._said[thing] = now
        return True
