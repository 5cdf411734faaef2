"""Patience where SQLite itself has none."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["while_locked"]

_PAUSE = 0.01  # seconds


def while_locked(attempt: Callable[[], object], patience: float) -> None:
    """Call ``attempt`` again as long as it fails because another process has the file locked.

    SQLite waits for a lock by itself (``PRAGMA busy_timeout``), but not for the change to a write-ahead log,
    nor for a lock that it could wait for in vain.

    Args:
        attempt: what to do.
        patience: seconds until it is given up.

    Raises:
        sqlite3.OperationalError: ``attempt`` failed for another reason, or the time is over.
    """
    end = time.monotonic() + patience
    while True:
        try:
            attempt()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
        else:
            return
        time.sleep(_PAUSE)
