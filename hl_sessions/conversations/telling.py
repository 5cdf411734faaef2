"""What a store is told in the background, in order."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Telling"]


class Telling:
    """Something to tell a store: told once, by whoever comes first, and waited for by the others.

    A creation that needs it to be told does not wait for a free thread, as it may itself hold the last.
    """

    def __init__(self, before: Telling | None, function: Callable[..., None], *args: object) -> None:
        self._lock = threading.Lock()
        self._before = before
        self._tell: Callable[[], None] | None = functools.partial(function, *args)

    def finish(self) -> None:
        """Return when it is told, and what was to be told before it."""
        chain, telling = [self], self._before
        while telling is not None:
            chain.append(telling)
            telling = telling._before
        for telling in reversed(chain):
            telling._finish_alone()

    def _finish_alone(self) -> None:
        with self._lock:
            self._before = None
            tell, self._tell = self._tell, None
            if tell is not None:
                tell()
